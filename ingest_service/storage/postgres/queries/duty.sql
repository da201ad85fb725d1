-- grid_cells: Grid cells of some areas, or of all.
SELECT cell_id, area_id, en, zh, setting, geometry, enabled FROM grid_cell
WHERE %(area_ids)s::text[] IS NULL OR area_id = ANY (%(area_ids)s) ORDER BY cell_id;

-- upsert_grid_cell: Insert or replace a grid cell; none if its id belongs to another area.
INSERT INTO grid_cell AS g (cell_id, area_id, en, zh, setting, geometry, enabled)
VALUES (%(cell_id)s, %(area_id)s, %(en)s, %(zh)s, %(setting)s, %(geometry)s, %(enabled)s)
ON CONFLICT (cell_id) DO UPDATE SET en = excluded.en, zh = excluded.zh, setting = excluded.setting,
    geometry = excluded.geometry, enabled = excluded.enabled
WHERE g.area_id = excluded.area_id;

-- teams: Teams of some areas, or of all, with their members in order.
SELECT t.team_id, t.area_id, t.en, t.zh, t.coverage, t.channels, t.enabled, coalesce((
    SELECT jsonb_agg(jsonb_build_object('member_id', m.member_id, 'name', m.name, 'role', m.role, 'principal', m.principal,
        'email', m.email, 'language', m.language) ORDER BY m.place)
    FROM team_member AS m WHERE m.team_id = t.team_id
), '[]') AS members
FROM team AS t WHERE %(area_ids)s::text[] IS NULL OR t.area_id = ANY (%(area_ids)s) ORDER BY t.team_id;

-- linked_members: Members of teams in some areas with a principal or an e-mail address; "C" folds ASCII letters alone.
SELECT member_id, team_id, principal FROM team_member
WHERE team_id IS NOT NULL AND area_id = ANY (%(area_ids)s)
    AND (principal = %(principal_id)s OR lower(email COLLATE "C") = %(email)s)
ORDER BY member_id;

-- upsert_team: Insert or replace a team without its members; none if its id belongs to another area.
INSERT INTO team AS t (team_id, area_id, en, zh, coverage, channels, enabled)
VALUES (%(team_id)s, %(area_id)s, %(en)s, %(zh)s, %(coverage)s, %(channels)s, %(enabled)s)
ON CONFLICT (team_id) DO UPDATE SET en = excluded.en, zh = excluded.zh, coverage = excluded.coverage,
    channels = excluded.channels, enabled = excluded.enabled
WHERE t.area_id = excluded.area_id;

-- remove_members: Take the members that are not kept out of a team.
UPDATE team_member SET team_id = NULL WHERE team_id = %(team_id)s AND NOT member_id = ANY (%(kept)s);

-- upsert_member: Insert or replace a member, who changes to this team; none if the id belongs to another area.
INSERT INTO team_member AS m (member_id, area_id, team_id, place, name, role, principal, email, language)
VALUES (%(member_id)s, %(area_id)s, %(team_id)s, %(place)s, %(name)s, %(role)s, %(principal)s, %(email)s, %(language)s)
ON CONFLICT (member_id) DO UPDATE SET team_id = excluded.team_id, place = excluded.place, name = excluded.name,
    role = excluded.role, principal = excluded.principal, email = excluded.email, language = excluded.language
WHERE m.area_id = excluded.area_id;

-- rosters: Rosters of some areas, or of all.
SELECT roster_id, area_id, team_id, en, zh, rotations, enabled FROM roster
WHERE %(area_ids)s::text[] IS NULL OR area_id = ANY (%(area_ids)s) ORDER BY roster_id;

-- upsert_roster: Insert or replace a roster; none if its id belongs to another area.
INSERT INTO roster AS r (roster_id, area_id, team_id, en, zh, rotations, enabled)
VALUES (%(roster_id)s, %(area_id)s, %(team_id)s, %(en)s, %(zh)s, %(rotations)s, %(enabled)s)
ON CONFLICT (roster_id) DO UPDATE SET team_id = excluded.team_id, en = excluded.en, zh = excluded.zh,
    rotations = excluded.rotations, enabled = excluded.enabled
WHERE r.area_id = excluded.area_id;

-- roster_overrides: Overrides that end after a time, oldest first.
SELECT override_id, roster_id, area_id, member_id, extract(epoch FROM "from")::float8 AS from_s,
    extract(epoch FROM "to")::float8 AS to_s, who, note, extract(epoch FROM "at")::float8 AS at_s
FROM roster_override
WHERE "to" > to_timestamp(%(after_s)s) AND (%(area_ids)s::text[] IS NULL OR area_id = ANY (%(area_ids)s))
ORDER BY override_id;

-- insert_override: Insert an override; returns its id and time.
INSERT INTO roster_override (roster_id, area_id, member_id, "from", "to", who, note)
VALUES (%(roster_id)s, %(area_id)s, %(member_id)s, to_timestamp(%(from_s)s), to_timestamp(%(to_s)s), %(who)s, %(note)s)
RETURNING override_id, extract(epoch FROM "at")::float8;

-- handover_notes: Hand-over notes of some areas or a team, newest first.
SELECT note_id, area_id, team_id, who, text, incidents, extract(epoch FROM "at")::float8 AS at_s
FROM handover_note
WHERE (%(area_ids)s::text[] IS NULL OR area_id = ANY (%(area_ids)s))
    AND (%(team_id)s::text IS NULL OR team_id = %(team_id)s)
    AND (%(before_id)s::bigint IS NULL OR note_id < %(before_id)s)
ORDER BY note_id DESC LIMIT %(limit)s;

-- insert_handover_note: Insert a hand-over note; returns its id and time.
INSERT INTO handover_note (area_id, team_id, who, text, incidents)
VALUES (%(area_id)s, %(team_id)s, %(who)s, %(text)s, %(incidents)s)
RETURNING note_id, extract(epoch FROM "at")::float8;

-- member_preferences: Preferences of some members, or of all.
SELECT member_id, area_id, preferences FROM member_preferences
WHERE %(member_ids)s::text[] IS NULL OR member_id = ANY (%(member_ids)s) ORDER BY member_id;

-- upsert_preferences: Insert or replace the preferences of a member.
INSERT INTO member_preferences (member_id, area_id, preferences) VALUES (%(member_id)s, %(area_id)s, %(preferences)s)
ON CONFLICT (member_id) DO UPDATE SET preferences = excluded.preferences;
