-- 0034 pre: limits by month and hour, of a device's clock, and the alarm budget; score limits on the judge's scale of rarity.

ALTER TABLE series
    DROP CONSTRAINT IF EXISTS series_limits_are_known,
    DROP CONSTRAINT IF EXISTS series_limits_are_in_order;

-- Score limits of before were 2.3 (close), 5 (weak) and 8 (strong) by default, and are 7, 7 and 8 now, in decades of rarity on
-- both scales: each keeps its distance from its default (decision 0049).
CREATE FUNCTION converted_score_limits(old jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT (old - ARRAY['score_close', 'score_weak', 'score_strong']) || jsonb_build_object(
        'score_strong', s.strong, 'score_weak', w.weak, 'score_close', least(coalesce(s.close + 4.7, w.weak), w.weak)
    )
    FROM (SELECT coalesce((old ->> 'score_strong')::float8, 8) AS strong, (old ->> 'score_weak')::float8 AS weak,
            (old ->> 'score_close')::float8 AS close) AS s,
        LATERAL (SELECT least(coalesce(s.weak + 2, s.strong - 1), s.strong) AS weak) AS w
$$;

-- Whether there are score limits to convert: not where one is switched off, nor where the limits are no numbers anyway.
CREATE FUNCTION has_score_limits(old jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_typeof(old) = 'object' AND old ?| ARRAY['score_close', 'score_weak', 'score_strong']
        AND NOT jsonb_path_exists(old, '$.* ? (@.type() != "number" && @.type() != "null")')
        AND NOT jsonb_path_exists(old, '$.keyvalue() ? (@.key like_regex "^score_" && @.value.type() == "null")')
$$;

WITH changed AS (
    UPDATE series SET adopted = converted_score_limits(adopted) WHERE has_score_limits(adopted) RETURNING series_id, adopted
)
INSERT INTO adoption (series_id, limits, who, note)
SELECT series_id, adopted, 'migration 0034', 'score limits converted to the scale of rarity, on which 8 is once a month' FROM changed;

UPDATE series SET limits = converted_score_limits(limits) WHERE has_score_limits(limits);

DROP FUNCTION converted_score_limits(jsonb), has_score_limits(jsonb);

-- As of 0022, with what the judge has learned since. A site file with an alarm budget could not be enrolled.
ALTER TABLE series
    ADD CONSTRAINT series_limits_are_known CHECK (
        jsonb_typeof(limits) = 'object'
        AND NOT jsonb_path_exists(limits, '$.* ? (@.type() != "number")')
        AND NOT jsonb_path_exists(limits - ARRAY[
            'alarms_per_month', 'fail_low', 'fail_high', 'suspect_low', 'suspect_high', 'rate_suspect_per_s', 'rate_fail_per_s',
            'spike_suspect', 'spike_fail', 'flat_suspect_s', 'flat_fail_s', 'flat_tolerance', 'spread_floor',
            'spread_share', 'warm_up_s', 'level_memory_s', 'profile_memory_days', 'score_weak', 'score_strong',
            'score_close', 'shift_memory_s', 'shift_least', 'novelty_least', 'step_deviations', 'attenuated_s',
            'attenuated_suspect', 'attenuated_fail', 'gap_suspect_s', 'gap_fail_s', 'stuck_clock_suspect_s',
            'stuck_clock_fail_s', 'adopt_s', 'event_gap_s', 'day_offset_s'
        ], '$.keyvalue() ? (!(@.key like_regex "^(fail|suspect)_(low|high)@[0-9]{1,2}(-[0-9]{1,2})?(/[0-9]{1,2}(-[0-9]{1,2})?)?$"))')
    ) NOT VALID,
    ADD CONSTRAINT series_limits_are_in_order CHECK (
        coalesce((limits ->> 'fail_low')::float8 <= (limits ->> 'suspect_low')::float8, true)
        AND coalesce((limits ->> 'suspect_low')::float8 <= (limits ->> 'suspect_high')::float8, true)
        AND coalesce((limits ->> 'suspect_high')::float8 <= (limits ->> 'fail_high')::float8, true)
        AND coalesce((limits ->> 'fail_low')::float8 <= (limits ->> 'fail_high')::float8, true)
        AND coalesce((limits ->> 'rate_suspect_per_s')::float8 <= (limits ->> 'rate_fail_per_s')::float8, true)
        AND coalesce((limits ->> 'spike_suspect')::float8 <= (limits ->> 'spike_fail')::float8, true)
        AND coalesce((limits ->> 'flat_suspect_s')::float8 <= (limits ->> 'flat_fail_s')::float8, true)
        AND coalesce((limits ->> 'gap_suspect_s')::float8 <= (limits ->> 'gap_fail_s')::float8, true)
        AND coalesce((limits ->> 'stuck_clock_suspect_s')::float8 <= (limits ->> 'stuck_clock_fail_s')::float8, true)
        AND coalesce((limits ->> 'score_close')::float8 <= (limits ->> 'score_weak')::float8, true)
        AND coalesce((limits ->> 'score_weak')::float8 <= (limits ->> 'score_strong')::float8, true)
        AND coalesce((limits ->> 'attenuated_fail')::float8 <= (limits ->> 'attenuated_suspect')::float8, true)
    ) NOT VALID;
