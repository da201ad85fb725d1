-- insert_station_command: Insert a command to a station; a device that is not visible inserts nothing.
INSERT INTO station_command (device_id, command, parameters, who, note, expires, over_time_s, re_count)
SELECT d.device_id, %(command)s, %(parameters)s, %(who)s, %(note)s,
    now() + %(expires_s)s * interval '1 second', %(over_time_s)s, %(re_count)s
FROM device AS d WHERE d.device_id = %(device_id)s
RETURNING command_id;

-- station_commands: Commands of a device, newest first.
SELECT command_id, device_id, command, parameters, who, note, extract(epoch FROM created)::float8 AS created_s,
    extract(epoch FROM expires)::float8 AS expires_s, over_time_s, re_count, state, attempts, request,
    extract(epoch FROM finished)::float8 AS finished_s, result, answers, uploads
FROM station_command
WHERE device_id = %(device_id)s AND (%(command_id)s::bigint IS NULL OR command_id = %(command_id)s::bigint)
ORDER BY command_id DESC LIMIT %(limit)s;

-- expire_station_commands: Finish the commands that nobody could send in time, and those without an answer after all attempts.
UPDATE station_command SET finished = now(),
    state = CASE WHEN state = 'waiting' THEN 'expired' ELSE 'timed_out' END
WHERE finished IS NULL AND device_id = ANY(%(devices)s) AND (
    (state = 'waiting' AND expires <= now())
    OR (state = 'sent' AND due <= now() AND (attempts > re_count OR expires <= now()))
    OR (state = 'accepted' AND due <= now())
);

-- claim_station_commands: Take the next command of each connected station: the oldest, once the one before it is finished.
WITH next AS (
    SELECT DISTINCT ON (device_id) command_id, state, due FROM station_command
    WHERE finished IS NULL AND device_id = ANY(%(devices)s) ORDER BY device_id, command_id
)
UPDATE station_command AS c SET state = 'sent', attempts = c.attempts + 1,
    due = now() + c.over_time_s * interval '1 second',
    request = CASE WHEN c.request = '' THEN to_char(now() AT TIME ZONE %(zone)s, 'YYYYMMDDHH24MISSMS') ELSE c.request END
FROM next WHERE c.command_id = next.command_id AND (next.state = 'waiting' OR (next.state = 'sent' AND next.due <= now()))
    AND c.state = next.state AND c.due IS NOT DISTINCT FROM next.due  -- another process was not faster
RETURNING c.command_id, c.device_id, c.command, c.parameters, c.request;

-- answer_station_command: Store an answer of a station, and the state that follows from it.
UPDATE station_command SET
    answers = answers || %(answer)s::jsonb,
    uploads = uploads + %(uploads)s,
    state = coalesce(%(state)s, state),
    result = coalesce(%(result)s, result),
    due = now() + greatest(over_time_s, %(execution_s)s) * interval '1 second',
    finished = CASE WHEN %(is_final)s THEN now() END
WHERE device_id = %(device_id)s AND request = %(request)s AND finished IS NULL;

-- open_station_requests: Request numbers of the commands that wait for answers.
SELECT device_id, request FROM station_command
WHERE finished IS NULL AND request <> '' AND device_id = ANY(%(devices)s);
