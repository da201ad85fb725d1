-- 0018 pre: what the wall lets see, by functions whose plans are kept: those of LANGUAGE sql are planned with every statement.

CREATE OR REPLACE FUNCTION area_seen() RETURNS SETOF text LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY WITH RECURSIVE seen AS (
        SELECT a.area_id FROM area AS a
        WHERE current_setting('towntwin.area', true) = '*'
            OR a.area_id = ANY (string_to_array(current_setting('towntwin.area', true), ','))
        UNION
        SELECT a.area_id FROM area AS a JOIN seen ON a.parent = seen.area_id
    )
    SELECT seen.area_id FROM seen;
END
$$;

CREATE OR REPLACE FUNCTION series_seen() RETURNS SETOF integer LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY SELECT s.series_id FROM series AS s;
END
$$;
