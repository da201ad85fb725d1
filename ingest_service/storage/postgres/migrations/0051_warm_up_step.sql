-- 0051 pre: the limit of steps during warm-up.

ALTER TABLE series DROP CONSTRAINT IF EXISTS series_limits_are_known;

ALTER TABLE series
    ADD CONSTRAINT series_limits_are_known CHECK (
        jsonb_typeof(limits) = 'object'
        AND NOT jsonb_path_exists(limits, '$.* ? (@.type() != "number")')
        AND NOT jsonb_path_exists(limits - ARRAY[
            'alarms_per_month', 'fail_low', 'fail_high', 'suspect_low', 'suspect_high', 'rate_suspect_per_s', 'rate_fail_per_s',
            'spike_suspect', 'spike_fail', 'flat_suspect_s', 'flat_fail_s', 'flat_tolerance', 'spread_floor',
            'spread_share', 'warm_up_s', 'warm_up_step', 'level_memory_s', 'profile_memory_days', 'score_weak', 'score_strong',
            'score_close', 'shift_memory_s', 'shift_least', 'novelty_least', 'step_deviations', 'attenuated_s',
            'attenuated_suspect', 'attenuated_fail', 'gap_suspect_s', 'gap_fail_s', 'stuck_clock_suspect_s',
            'stuck_clock_fail_s', 'adopt_s', 'event_gap_s', 'day_offset_s'
        ], '$.keyvalue() ? (!(@.key like_regex "^(fail|suspect)_(low|high)@[0-9]{1,2}(-[0-9]{1,2})?(/[0-9]{1,2}(-[0-9]{1,2})?)?$"))')
    ) NOT VALID;
