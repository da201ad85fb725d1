-- sta_extents: When the readings of series begin, and when the newest was measured.
SELECT series_id, "first", first_received, "last", last_received FROM series_extent(%(series_ids)s::int[]);

-- sta_reading_source: Readings as they were judged first.
(SELECT series_id, "time", received, value, quality, rules, nullif(expected, 'NaN') AS expected, nullif(spread, 'NaN') AS spread
FROM {0});

-- sta_judged: Readings with their newest flags.
(SELECT r.series_id, r."time", r.received, r.value, coalesce(v.quality, r.quality) AS quality, coalesce(v.rules, r.rules) AS rules,
    nullif(r.expected, 'NaN') AS expected, nullif(r.spread, 'NaN') AS spread
FROM {0} AS r LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time");

-- sta_each: Of each of some series, no more observations than the page can take, in order; their flags are revised last.
SELECT r.*, (extract(epoch FROM r."time") * 1000000)::int8 AS time_us,
    (extract(epoch FROM r.received) * 1000000)::int8 AS received_us{keys}
FROM {readings} AS r
WHERE r.series_id = c.series_id AND {where}
ORDER BY {order} LIMIT {inner_limit};

-- sta_page: Observations of some series, in order.
SELECT r.series_id, r.time_us, r.received_us, r.value, coalesce(v.quality, r.quality), coalesce(v.rules, r.rules),
    r.expected, r.spread{key_names}
FROM (
    SELECT r.* FROM unnest({arrays}) AS c (series_id{columns}) CROSS JOIN LATERAL ({each}) AS r
    ORDER BY {outer_order} LIMIT {limit} OFFSET {skip}
) AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time"
ORDER BY {outer_order};

-- sta_of_each: Observations of each of some series, in the order of each.
SELECT r.series_id, r.time_us, r.received_us, r.value, coalesce(v.quality, r.quality), coalesce(v.rules, r.rules),
    r.expected, r.spread{key_names}
FROM unnest({arrays}) AS c (series_id{columns})
CROSS JOIN LATERAL ({each}) AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time"
ORDER BY c.series_id, {outer_order};

-- sta_newest: The newest observation of each of some series, from what is kept of each.
SELECT l.series_id, (extract(epoch FROM l."time") * 1000000)::int8, (extract(epoch FROM l.received) * 1000000)::int8, l.value,
    l.quality, l.rules, l.expected, l.spread, l."time", l.series_id, l."time"
FROM latest_judged AS l WHERE l.series_id = ANY (%(series_ids)s::int[]);

-- sta_counts: How many observations each of some series has. Whole days come from the rollups; reading by reading are
-- counted days that wait to be rolled up, and what is older than retention, which is rolled up no more.
WITH kept AS (
    SELECT coalesce(max(since), '-infinity') AS since FROM retention
), due AS MATERIALIZED (
    SELECT series_id, lower(span) AS since, upper(span) AS until FROM (
        SELECT series_id, unnest(range_agg(tstzrange(
            date_trunc('day', since, %(zone)s),
            ((date_trunc('day', until - interval '1 microsecond', %(zone)s) AT TIME ZONE %(zone)s) + interval '1 day') AT TIME ZONE %(zone)s
        ))) AS span
        FROM rollup_due WHERE series_id = ANY (%(series_ids)s::int[]) GROUP BY series_id
    ) AS merged
), uncounted AS (
    SELECT series_id, greatest(since, (SELECT since FROM kept)) AS since, until FROM due
    WHERE until > (SELECT since FROM kept)
    UNION ALL
    SELECT series_id, '-infinity', (SELECT since FROM kept) FROM unnest(%(series_ids)s::int[]) AS s (series_id)
    WHERE (SELECT since FROM kept) > '-infinity'
)
SELECT series_id, sum(n)::bigint FROM (
    SELECT r.series_id, sum(r.count)::bigint AS n FROM rollup_1day AS r
    WHERE r.series_id = ANY (%(series_ids)s::int[]) AND r.bucket >= (SELECT since FROM kept) AND NOT EXISTS (
        SELECT FROM due WHERE due.series_id = r.series_id AND r.bucket >= due.since AND r.bucket < due.until
    )
    GROUP BY r.series_id
    UNION ALL
    SELECT u.series_id, counted.n FROM uncounted AS u CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM reading AS r
        WHERE r.series_id = u.series_id AND r."time" >= u.since AND r."time" < u.until
    ) AS counted
) AS parts GROUP BY series_id;

-- sta_count: How many observations of some series there are.
SELECT coalesce(sum(n), 0)::bigint FROM unnest({arrays}) AS c (series_id{columns})
CROSS JOIN LATERAL (SELECT count(*) AS n FROM {readings} AS r WHERE r.series_id = c.series_id AND {where}) AS counted;

-- sta_holding: Which of some series have such an observation, by their place in the list.
SELECT c.place FROM unnest({arrays}) WITH ORDINALITY AS c (series_id{columns}, place)
WHERE EXISTS (SELECT FROM {readings} AS r WHERE r.series_id = c.series_id AND {where});

-- sta_limit_time: How long the statements of this transaction may take [ms].
SELECT set_config('statement_timeout', %s, true);

-- sta_by_index: Whether the statements that follow read by index alone, in pages, which end early; and what plans they have.
SELECT set_config('enable_seqscan', %(scans)s, true), set_config('enable_bitmapscan', %(scans)s, true),
    set_config('plan_cache_mode', %(plans)s, true);

-- What a compiled filter is made of.

-- sta_all: No condition.
true;

-- sta_id: The id of an observation.
(r.series_id || '-' || (extract(epoch FROM r."time") * 1000000)::int8);

-- sta_series: The series of an observation.
r.series_id;

-- sta_time: When it was measured.
r."time";

-- sta_received: When it was received.
r.received;

-- sta_result: What was measured.
r.value;

-- sta_quality: The quality flag.
r.quality::float8;

-- sta_meaning: The quality flag in words.
(%(meanings)s::text[])[r.quality];

-- sta_expected: What was expected.
r.expected::float8;

-- sta_spread: One robust standard deviation around it.
r.spread::float8;

-- sta_rules: The rules behind the flag, by name.
(SELECT coalesce(string_agg(n.word, ',' ORDER BY n.place), '')
    FROM unnest(%(rules)s::text[]) WITH ORDINALITY AS n (word, place)
    WHERE r.rules & (1 << (n.place - 1)::int) <> 0);

-- sta_is_at: Whether it is one certain observation.
(r.series_id = {0}::int AND r."time" = {1}::timestamptz);

-- sta_as_number: A number.
{0}::float8;

-- sta_as_text: A text.
{0}::text;

-- sta_as_truth: True, false or unknown.
{0}::boolean;

-- sta_as_moment: A moment.
{0}::timestamptz;

-- sta_as_day: A day.
{0}::date;

-- sta_as_clock: A time of day.
{0}::time;

-- sta_as_numbers: Numbers, one a series.
{0}::float8[];

-- sta_as_texts: Texts, one a series.
{0}::text[];

-- sta_as_truths: Truths, one a series.
{0}::boolean[];

-- sta_as_moments: Moments, one a series.
{0}::timestamptz[];

-- sta_as_days: Days, one a series.
{0}::date[];

-- sta_as_clocks: Times of day, one a series.
{0}::time[];

-- sta_as_series: Series ids.
{0}::int[];

-- sta_given: What is known of a series beforehand.
c.{0};

-- sta_collated: A text that is ordered by code point.
{0} COLLATE "C";

-- sta_eq: Equal, where neither is ever null.
({0} = {1});

-- sta_eq_null: Equal, or both null.
({0} IS NOT DISTINCT FROM {1});

-- sta_lt: Less; false where one is null.
coalesce({0} < {1}, false);

-- sta_le: Less or equal; false where one is null.
coalesce({0} <= {1}, false);

-- sta_lt_known: Less, where neither is ever null.
({0} < {1});

-- sta_le_known: Less or equal, where neither is ever null.
({0} <= {1});

-- sta_not: Not.
(NOT {0});

-- sta_and: All of them.
AND;

-- sta_or: Any of them.
OR;

-- sta_add: Sum.
({0} + {1});

-- sta_sub: Difference.
({0} - {1});

-- sta_mul: Product.
({0} * {1});

-- sta_div: Quotient; null where the divisor is zero.
({0} / nullif({1}, 0));

-- sta_mod: Remainder, with the sign of the dividend; null where the divisor is zero.
({0} - {1} * trunc({0} / nullif({1}, 0)));

-- sta_neg: Negative.
(- {0});

-- sta_later: A moment and a number of seconds.
({0} + make_interval(secs => {1}));

-- sta_between: Seconds from the second moment to the first.
extract(epoch FROM {0} - {1})::float8;

-- sta_day_later: The day some seconds after the begin of a day.
({0} + make_interval(secs => {1}))::date;

-- sta_days_between: Seconds from the second day to the first.
(({0} - {1}) * 86400)::float8;

-- sta_begin_of: The moment in which a day begins.
({0}::timestamp AT TIME ZONE 'UTC');

-- sta_substringof: Whether the second text holds the first.
(position({0} IN {1}) > 0);

-- sta_startswith: Whether a text begins with another.
starts_with({0}, {1});

-- sta_endswith: Whether a text ends with another.
(right({0}, length({1})) = {1});

-- sta_length: Characters of a text.
length({0})::float8;

-- sta_indexof: Where a text holds another, from 0; -1 where it does not.
(position({1} IN {0}) - 1)::float8;

-- sta_substring: A text from a place on, from 0.
substr({0}, least(greatest(trunc({1}), 0), 1000000000)::int + 1);

-- sta_substring3: Some characters of a text from a place on, from 0.
substr({0}, least(greatest(trunc({1}), 0), 1000000000)::int + 1, least(greatest(trunc({2}), 0), 1000000000)::int);

-- sta_tolower: A text in small letters.
lower({0});

-- sta_toupper: A text in capitals.
upper({0});

-- sta_trim: A text without blanks around it.
btrim({0}, E' \t\n\r\f\v');

-- sta_concat: Two texts in one.
({0} || {1});

-- sta_year: Year of a moment or day.
extract(year FROM {0})::float8;

-- sta_month: Month.
extract(month FROM {0})::float8;

-- sta_day: Day of the month.
extract(day FROM {0})::float8;

-- sta_hour: Hour.
extract(hour FROM {0})::float8;

-- sta_minute: Minute.
extract(minute FROM {0})::float8;

-- sta_second: Whole seconds of the minute.
floor(extract(second FROM {0}))::float8;

-- sta_fractionalseconds: What is left of a second.
(extract(second FROM {0}) - floor(extract(second FROM {0})))::float8;

-- sta_date: Day of a moment.
({0} AT TIME ZONE 'UTC')::date;

-- sta_time_of: Time of day of a moment.
({0} AT TIME ZONE 'UTC')::time;

-- sta_totaloffsetminutes: Stored moments are in UTC.
(0 * extract(epoch FROM {0}))::float8;

-- sta_round: To the nearest whole number, halves away from zero.
(sign({0}) * floor(abs({0}) + 0.5));

-- sta_floor: The whole number below.
floor({0});

-- sta_ceiling: The whole number above.
ceiling({0});

-- sta_ascending: Nulls come first.
{0} ASC NULLS FIRST;

-- sta_descending: Nulls come last.
{0} DESC NULLS LAST;

-- sta_ascending_known: Likewise where nothing is null, as an index has it.
{0} ASC;

-- sta_descending_known: Likewise, as an index has it backwards.
{0} DESC;

-- sta_gt_known: Greater, where neither is ever null.
({0} > {1});

-- sta_ge_known: Greater or equal, where neither is ever null.
({0} >= {1});

-- sta_after_ascending: Beyond a value that is not null.
({0} > {1});

-- sta_after_null: Beyond null, nulls first.
({0} IS NOT NULL);

-- sta_after_descending: Beyond a value that is not null, nulls last.
({0} < {1} OR {0} IS NULL);

-- sta_is_null: Null.
({0} IS NULL);

-- sta_never: Nothing.
false::boolean;
