-- What came from outside: limits are checked at the door, retained messages are known, devices have an age.

-- Limits of a series: known names, numbers, and in order. Rows that were there before are left as they are (NOT VALID):
-- ingest starts without what is wrong in them, and reports it.
ALTER TABLE series
    ADD CONSTRAINT series_interval_is_finite CHECK (interval_s > 0 AND interval_s < 'infinity') NOT VALID,
    ADD CONSTRAINT series_limits_are_known CHECK (
        jsonb_typeof(limits) = 'object'
        AND NOT jsonb_path_exists(limits, '$.* ? (@.type() != "number")')
        AND limits - ARRAY[
            'fail_low', 'fail_high', 'suspect_low', 'suspect_high', 'rate_suspect_per_s', 'rate_fail_per_s',
            'spike_suspect', 'spike_fail', 'flat_suspect_s', 'flat_fail_s', 'flat_tolerance', 'spread_floor',
            'spread_share', 'warm_up_s', 'level_memory_s', 'profile_memory_days', 'score_weak', 'score_strong',
            'score_close', 'shift_memory_s', 'shift_least', 'novelty_least', 'step_deviations', 'attenuated_s',
            'attenuated_suspect', 'attenuated_fail', 'gap_suspect_s', 'gap_fail_s', 'adopt_s', 'event_gap_s',
            'day_offset_s'
        ] = '{}'
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
        AND coalesce((limits ->> 'score_close')::float8 <= (limits ->> 'score_weak')::float8, true)
        AND coalesce((limits ->> 'score_weak')::float8 <= (limits ->> 'score_strong')::float8, true)
        AND coalesce((limits ->> 'attenuated_fail')::float8 <= (limits ->> 'attenuated_suspect')::float8, true)
    ) NOT VALID,
    ADD CONSTRAINT series_adopted_are_known CHECK (
        jsonb_typeof(adopted) = 'object'
        AND NOT jsonb_path_exists(adopted, '$.* ? (@.type() != "number" && @.type() != "null")')
    ) NOT VALID;

-- A message that the broker retains comes again at every subscription: one dead letter of it is enough.
ALTER TABLE dead_letter ADD COLUMN retained boolean NOT NULL DEFAULT false;
CREATE INDEX dead_letter_by_payload ON dead_letter (sha256(payload));

-- Since when a device is known: a clock that is years behind that was never set.
ALTER TABLE device ADD COLUMN enrolled timestamptz NOT NULL DEFAULT now();
