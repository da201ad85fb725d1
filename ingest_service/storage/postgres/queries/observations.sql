-- sta_extents: Times of the first and of the newest reading of series.
SELECT series_id, "first", first_received, "last", last_received FROM series_extent(%(series_ids)s::int[]);

-- sta_reading_source: Readings with their original flags.
(SELECT series_id, "time", received, value, quality, rules, nullif(expected, 'NaN') AS expected, nullif(spread, 'NaN') AS spread
FROM {0});

-- sta_judged: Readings with their newest flags.
(SELECT r.series_id, r."time", r.received, r.value, coalesce(v.quality, r.quality) AS quality, coalesce(v.rules, r.rules) AS rules,
    nullif(r.expected, 'NaN') AS expected, nullif(r.spread, 'NaN') AS spread
FROM {0} AS r LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time");

-- sta_each: Observations of one series in order, up to the page size; their flags are revised last.
SELECT r.*, (extract(epoch FROM r."time") * 1000000)::int8 AS time_us,
    (extract(epoch FROM r.received) * 1000000)::int8 AS received_us{keys}
FROM {readings} AS r
WHERE r.series_id = c.series_id AND {where}
ORDER BY {order} LIMIT {inner_limit};

-- sta_page: Observations of some series, in order.
SELECT r.series_id, r.time_us, r.received_us, r.value, coalesce(v.quality, r.quality), coalesce(v.rules, r.rules),
    r.expected, r.spread{key_names}
FROM (
    SELECT r.* FROM unnest({arrays}) AS c (series_id{columns}) CROSS JOIN LATERAL ({per_series_sql}) AS r
    ORDER BY {outer_order} LIMIT {limit} OFFSET {skip}
) AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time"
ORDER BY {outer_order};

-- sta_of_each: Observations of each of some series, in the order of each.
SELECT r.series_id, r.time_us, r.received_us, r.value, coalesce(v.quality, r.quality), coalesce(v.rules, r.rules),
    r.expected, r.spread{key_names}
FROM unnest({arrays}) AS c (series_id{columns})
CROSS JOIN LATERAL ({per_series_sql}) AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time"
ORDER BY c.series_id, {outer_order};

-- sta_newest: The newest observation of each series, from table latest.
SELECT l.series_id, (extract(epoch FROM l."time") * 1000000)::int8, (extract(epoch FROM l.received) * 1000000)::int8, l.value,
    l.quality, l.rules, l.expected, l.spread, l."time", l.series_id, l."time"
FROM latest_readings(%(series_ids)s::int[], NULL) AS l;

-- sta_counts: Number of observations of each series.
SELECT series_id, sum(readings)::bigint FROM reading_counts(%(series_ids)s::int[], %(zone)s) GROUP BY series_id;

-- sta_count: Number of observations of some series that match a condition.
SELECT coalesce(sum(n), 0)::bigint FROM unnest({arrays}) AS c (series_id{columns})
CROSS JOIN LATERAL (SELECT count(*) AS n FROM {readings} AS r WHERE r.series_id = c.series_id AND {where}) AS counted;

-- sta_holding: Series with a matching observation, by their position in the list.
SELECT c.place FROM unnest({arrays}) WITH ORDINALITY AS c (series_id{columns}, place)
WHERE EXISTS (SELECT FROM {readings} AS r WHERE r.series_id = c.series_id AND {where});

-- sta_limit_time: Set the statement timeout of this transaction [ms].
SELECT set_config('statement_timeout', %s, true);

-- sta_by_index: Switch to index scans only, for pages, which end early, or back; and choose the kind of plan.
SELECT set_config('enable_seqscan', %(scans)s, true), set_config('enable_bitmapscan', %(scans)s, true),
    set_config('plan_cache_mode', %(plans)s, true);

-- Parts of compiled filters.

-- sta_all: No condition.
true;

-- sta_id: The id of an observation.
(r.series_id || '-' || (extract(epoch FROM r."time") * 1000000)::int8);

-- sta_series: The series of an observation.
r.series_id;

-- sta_time: Time measured.
r."time";

-- sta_received: Time received.
r.received;

-- sta_result: Measured value.
r.value;

-- sta_quality: The quality flag.
r.quality::float8;

-- sta_meaning: Text of the quality flag.
(%(meanings)s::text[])[r.quality];

-- sta_expected: Expected value.
r.expected::float8;

-- sta_spread: One robust standard deviation around the expected value.
r.spread::float8;

-- sta_rules: Names of the rules that led to the flag.
(SELECT coalesce(string_agg(n.word, ',' ORDER BY n.place), '')
    FROM unnest(%(rules)s::text[]) WITH ORDINALITY AS n (word, place)
    WHERE r.rules & (1 << (n.place - 1)::int) <> 0);

-- sta_is_at: Whether it is a given observation.
(r.series_id = {0}::int AND r."time" = {1}::timestamptz);

-- sta_as_number: A number.
{0}::float8;

-- sta_as_text: A text.
{0}::text;

-- sta_as_truth: True, false or unknown.
{0}::boolean;

-- sta_as_timestamp: A timestamp.
{0}::timestamptz;

-- sta_as_day: A day.
{0}::date;

-- sta_as_clock: A time of day.
{0}::time;

-- sta_as_numbers: Numbers, one per series.
{0}::float8[];

-- sta_as_texts: Texts, one per series.
{0}::text[];

-- sta_as_truths: Booleans, one per series.
{0}::boolean[];

-- sta_as_timestamps: Timestamps, one per series.
{0}::timestamptz[];

-- sta_as_days: Days, one per series.
{0}::date[];

-- sta_as_clocks: Times of day, one per series.
{0}::time[];

-- sta_as_series: Series ids.
{0}::int[];

-- sta_given: A value that is constant per series.
c.{0};

-- sta_collated: A text ordered by code point.
{0} COLLATE "C";

-- sta_eq: Equal, if neither can be null.
({0} = {1});

-- sta_eq_null: Equal, or both null.
({0} IS NOT DISTINCT FROM {1});

-- sta_lt: Less; false if one is null.
coalesce({0} < {1}, false);

-- sta_le: Less or equal; false if one is null.
coalesce({0} <= {1}, false);

-- sta_lt_known: Less, if neither can be null.
({0} < {1});

-- sta_le_known: Less or equal, if neither can be null.
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

-- sta_div: Quotient; null if the divisor is zero.
({0} / nullif({1}, 0));

-- sta_mod: Remainder, with the sign of the dividend; null if the divisor is zero.
({0} - {1} * trunc({0} / nullif({1}, 0)));

-- sta_neg: Negative.
(- {0});

-- sta_later: A timestamp plus a number of seconds.
({0} + make_interval(secs => {1}));

-- sta_between: Seconds from the second timestamp to the first.
extract(epoch FROM {0} - {1})::float8;

-- sta_day_later: The day a number of seconds after the start of a day.
({0} + make_interval(secs => {1}))::date;

-- sta_days_between: Seconds from the second day to the first.
(({0} - {1}) * 86400)::float8;

-- sta_begin_of: The timestamp at which a day begins.
({0}::timestamp AT TIME ZONE 'UTC');

-- sta_substringof: Whether the second text contains the first.
(position({0} IN {1}) > 0);

-- sta_startswith: Whether a text starts with another.
starts_with({0}, {1});

-- sta_endswith: Whether a text ends with another.
(right({0}, length({1})) = {1});

-- sta_length: Characters of a text.
length({0})::float8;

-- sta_indexof: Position of another text in a text, from 0; -1 if there is none.
(position({1} IN {0}) - 1)::float8;

-- sta_substring: A text from a position on, from 0.
substr({0}, least(greatest(trunc({1}), 0), 1000000000)::int + 1);

-- sta_substring3: A number of characters of a text from a position on, from 0.
substr({0}, least(greatest(trunc({1}), 0), 1000000000)::int + 1, least(greatest(trunc({2}), 0), 1000000000)::int);

-- sta_tolower: A text in lower case.
lower({0});

-- sta_toupper: A text in upper case.
upper({0});

-- sta_trim: A text without blanks around it.
btrim({0}, E' \t\n\r\f\v');

-- sta_concat: Concatenation of two texts.
({0} || {1});

-- sta_year: Year of a timestamp or day.
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

-- sta_fractionalseconds: Fraction of a second.
(extract(second FROM {0}) - floor(extract(second FROM {0})))::float8;

-- sta_date: Day of a timestamp.
({0} AT TIME ZONE 'UTC')::date;

-- sta_time_of: Time of day of a timestamp.
({0} AT TIME ZONE 'UTC')::time;

-- sta_totaloffsetminutes: 0, for timestamps are stored in UTC.
(0 * extract(epoch FROM {0}))::float8;

-- sta_round: Rounded to the nearest whole number, halves away from zero.
(sign({0}) * floor(abs({0}) + 0.5));

-- sta_floor: The next whole number below.
floor({0});

-- sta_ceiling: The next whole number above.
ceiling({0});

-- sta_ascending: Ascending, nulls first.
{0} ASC NULLS FIRST;

-- sta_descending: Descending, nulls last.
{0} DESC NULLS LAST;

-- sta_ascending_known: Ascending if nothing can be null, as an index is ordered.
{0} ASC;

-- sta_descending_known: Descending if nothing can be null, as an index is read backwards.
{0} DESC;

-- sta_gt_known: Greater, if neither can be null.
({0} > {1});

-- sta_ge_known: Greater or equal, if neither can be null.
({0} >= {1});

-- sta_after_ascending: After a value that is not null, ascending.
({0} > {1});

-- sta_after_null: After null, nulls first.
({0} IS NOT NULL);

-- sta_after_descending: After a value that is not null, descending, nulls last.
({0} < {1} OR {0} IS NULL);

-- sta_is_null: Whether it is null.
({0} IS NULL);

-- sta_never: False.
false::boolean;
