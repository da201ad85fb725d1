"""Tests site files: omitted fields are derived; errors name file, entry and remedy."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from analytics.quality import default_limits
from deploy import site_files, site_format
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series

AREAS = """
[[areas]]
area_id = "330483"
level = "county"
en = "Tongxiang"
zh = "桐乡市"
"""
TOWN = """
nodes = [
  { node_id = "q1", network = "river", kind = "source", en = "In", zh = "来水", lon = 120.50, lat = 30.60 },
  { site_id = "r1", network = "river", kind = "section" },
]

[defaults]
area_id = "t1"
demo = true
interval_s = 60

[[areas]]
area_id = "t1"
parent = "330483"
level = "town"
en = "Town"
zh = "镇"

[[sites]]
site_id = "r1"
kind = "river_section"
en = "Bridge"
zh = "桥"
lon = 120.52
lat = 30.60
target_class = 3
quantities = ["ph", "conductivity"]
limits = { ph = { spike_fail = 2.0 } }

[[sites]]
site_id = "o1"
kind = "outfall"
en = "Outfall, not measured"
zh = "未监测排口"
lon = 120.51
lat = 30.60
demo = false

[[links]]
from_node = "q1"
to_node = "r1"
en = "Canal"
zh = "运河"
speed_m_s = 0.3
bends = [[120.51, 30.61]]
"""


def written(folder: Path, **texts: str) -> list[Path]:
    paths = [folder / f"{name}.toml" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def problems(folder: Path, **texts: str) -> list[str]:
    with pytest.raises(site_files.SiteFileError) as caught:
        site_files.load_site_files(written(folder, **texts))
    return caught.value.problems


def test_a_site_brings_its_device_series_and_channels(tmp_path: Path) -> None:
    known = site_files.load_site_files(written(tmp_path, areas=AREAS, town=TOWN))
    assert known.devices == [Device(device_id="r1", area_id="t1")]
    assert known.series == [
        Series(site_id="r1", quantity="ph", interval_s=60, limits={"spike_fail": 2.0}),
        Series(site_id="r1", quantity="conductivity", interval_s=60),
    ]
    assert known.channels == [
        Channel(device_id="r1", name="ph", site_id="r1", quantity="ph"),
        Channel(device_id="r1", name="conductivity", site_id="r1", quantity="conductivity"),
    ]


def test_defaults_hold_where_an_entry_has_no_value(tmp_path: Path) -> None:
    known = site_files.load_site_files(written(tmp_path, areas=AREAS, town=TOWN))
    assert {site.site_id: (site.area_id, site.demo) for site in known.sites} == {
        "r1": ("t1", True),
        "o1": ("t1", False),
    }


def test_a_node_takes_from_its_site_and_a_link_from_its_nodes(tmp_path: Path) -> None:
    known = site_files.load_site_files(written(tmp_path, areas=AREAS, town=TOWN))
    node = known.nodes[1]
    assert (node.node_id, node.en, node.lon, node.area_id) == ("r1", "Bridge", 120.52, "t1")
    (link,) = known.links
    assert (link.link_id, link.network) == ("q1:r1", "river")
    assert link.coordinates == [(120.50, 30.60), (120.51, 30.61), (120.52, 30.60)]
    assert link.length_m == pytest.approx(2931, abs=5)


def test_files_may_name_one_another_in_any_order(tmp_path: Path) -> None:
    assert len(site_files.load_site_files(written(tmp_path, town=TOWN, areas=AREAS)).areas) == 2


def test_a_second_site_file_needs_not_repeat_what_is_enrolled(tmp_path: Path) -> None:
    enrolled = site_files.load_site_files(written(tmp_path, areas=AREAS, town=TOWN))
    second = """
[defaults]
area_id = "t1"
[[sites]]
site_id = "r2"
kind = "river_section"
en = "Second bridge"
zh = "二桥"
lon = 120.53
lat = 30.60
device = "r1"
quantities = ["turbidity"]
[[nodes]]
site_id = "o1"
network = "river"
kind = "outfall"
[[nodes]]
site_id = "r2"
network = "river"
kind = "section"
[[links]]
from_node = "r1"
to_node = "r2"
en = "Canal"
zh = "运河"
speed_m_s = 0.3
"""
    added = site_files.load_site_files(written(tmp_path, second=second), enrolled)
    assert (added.areas, added.devices) == ([], []), "what is enrolled is not enrolled again"
    assert [one.site_id for one in added.sites] == ["r2"]
    assert [(one.node_id, one.en) for one in added.nodes] == [
        ("o1", "Outfall, not measured"),
        ("r2", "Second bridge"),
    ]
    assert [one.link_id for one in added.links] == ["r1:r2"]


@pytest.mark.parametrize(
    ("area", "says"),
    [
        (
            "t2",
            "which is neither in the files nor enrolled: name one that exists (330483, t1), add ",
        ),
        (
            "330438",
            "(did you mean '330483'?): correct it, add [[areas]] with it, or enrol its file first",
        ),
    ],
)
def test_an_area_that_does_not_exist_is_refused_with_those_that_do(
    tmp_path: Path, area: str, says: str
) -> None:
    enrolled = site_files.load_site_files(written(tmp_path, areas=AREAS, town=TOWN))
    _, _, site = TOWN.partition("[[sites]]")
    text = f'[defaults]\narea_id = "{area}"\n[[sites]]' + site.partition("[[sites]]")[0]
    with pytest.raises(site_files.SiteFileError) as error:
        site_files.load_site_files(written(tmp_path, second=text), enrolled)
    assert any(says in one for one in error.value.problems), error.value.problems


def test_a_site_without_an_area_is_an_error_that_requires_one(tmp_path: Path) -> None:
    found = problems(tmp_path, areas=AREAS, town=TOWN.replace('[defaults]\narea_id = "t1"', "[defaults]"))
    assert any("site 'r1' has no area_id: give it, or an area_id for the whole file" in one for one in found)


def test_two_sites_may_share_a_device_of_another_entry(tmp_path: Path) -> None:
    shared = (
        TOWN.replace("target_class = 3", 'device = "logger"')
        + '[[devices]]\ndevice_id = "logger"\narea_id = "t1"\n'
    )
    known = site_files.load_site_files(written(tmp_path, areas=AREAS, town=shared))
    assert [device.device_id for device in known.devices] == ["logger"]
    assert {channel.device_id for channel in known.channels} == {"logger"}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            '"conductivity"]',
            '"conductivty"]',
            "quantity 'conductivty', which is not known (did you mean 'conductivity'?)",
        ),
        (
            "river_section",
            "bridge",
            "site 'r1' has kind 'bridge', which is not known: choose from river_section, lake_section",
        ),
        ('kind = "source"', 'kind = "spring"', "node 'q1' has kind 'spring', which is not known: "),
        ("lon = 120.52\nlat = 30.60", "lon = 30.60\nlat = 120.52", "site 'r1' lies at lon 30.6, lat 120.52"),
        (
            "target_class = 3",
            "target_class = 6",
            "site 'r1' has target_class 6: GB 3838 has the classes 1 to 5",
        ),
        (
            'parent = "330483"',
            'parent = "330482"',
            "names area '330482', which is not in the files (did you mean '330483'?): correct it",
        ),
        (
            'to_node = "r1"',
            'to_node = "r2"',
            "link 'q1:r2' ends at node 'r2', which is not enrolled: add that node",
        ),
        (
            '{ site_id = "r1", n',
            '{ site_id = "r9", n',
            "node 'r9' stands at site 'r9', which is not enrolled",
        ),
        ('en = "In", ', "", "node 'q1' lacks en: give it, or a site_id to take it from"),
        ('site_id = "o1"', 'site_id = "r1"', "site 'r1' is already in "),
        (
            "interval_s = 60",
            "interval_s = 0",
            "series 'r1 / ph' has interval_s 0: it must be above 0, and at most",
        ),
        ('area_id = "t1"\nparent', 'area_id = "t/1"\nparent', "area 't/1' can't stand in a topic"),
        ('site_id = "o1"', 'site_id = "o/1"', "site 'o/1' has site_id 'o/1', which addresses and file names"),
        (
            '"q1"',
            '"q 1"',
            "node 'q 1' has node_id 'q 1', which addresses and file names can't hold",
        ),
        (
            'to_node = "r1"',
            'to_node = "r1"\nlink_id = "50%"',
            "link '50%' has link_id '50%', which addresses",
        ),
        (
            "speed_m_s = 0.3",
            "speed_m_s = 30",
            "link 'q1:r1' has speed_m_s 30: on a river it is above 0, at most 5",
        ),
        (
            "speed_m_s = 0.3",
            "speed_m_s = 0.3\nlength_m = 90",
            "link 'q1:r1' has length_m 90, but its nodes are 1914 m apart: mend one of them",
        ),
        (
            "bends = [[120.51, 30.61]]",
            "coordinates = [[120.50, 30.60], [120.52, 30.70]]",
            "link 'q1:r1' is drawn 11120 m away from its node 'r1'",
        ),
        (
            "lat = 30.60\ntarget",
            'lat = "30.60"\ntarget',
            "sites entry 1 ('r1'), lat: expected `float`, got `str`",
        ),
        ('zh = "桥"', "", "sites entry 1 ('r1'): object missing required field `zh`"),
        ("demo = false", "dmeo = false", "sites entry 2 ('o1'): object contains unknown field `dmeo`"),
        (
            "limits = { ph",
            "limits = { turbidity",
            "site 'r1' has limits for 'turbidity', which it doesn't measure",
        ),
        ("[defaults]", "[defaults", "town.toml: is no TOML in UTF-8: "),
    ],
)
def test_what_is_wrong_is_reported_with_file_entry_and_remedy(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert old in TOWN
    reported = problems(tmp_path, areas=AREAS, town=TOWN.replace(old, new, 1))
    assert any(sentence in one for one in reported), reported
    assert all("town.toml" in one for one in reported)


def test_an_entry_of_a_wrong_type_hides_no_other_mistake(tmp_path: Path) -> None:
    wrong = TOWN.replace("lon = 120.52", 'lon = "120.52"\narea_id = "t1"').replace("outfall", "outfal")
    wrong = wrong.replace('parent = "330483"', 'parent = "330499"')
    found = problems(tmp_path, areas=AREAS, town=wrong + "\n[[devices]]\ndevice_id = 7\n")
    assert any("sites entry 1 ('r1'), lon: expected `float`, got `str`" in one for one in found), found
    assert any("devices entry 1 (7)" in one for one in found), found
    assert any("outfal" in one and "o1" in one for one in found), found
    assert any("'t1'" in one and "330499" in one for one in found), "the area of the wrong entry is checked"
    assert not any("r1" in one and "lon" not in one for one in found), "no consequence of the first"


def test_everything_that_is_wrong_is_reported_at_once(tmp_path: Path) -> None:
    wrong = TOWN.replace('"conductivity"]', '"EC"]').replace("target_class = 3", "target_class = 9")
    assert len([one for one in problems(tmp_path, areas=AREAS, town=wrong) if "has" in one]) >= 2


@pytest.mark.parametrize(("written_as", "class_"), [("3", 3), ('"III"', 3), ('"I"', 1), ('"V"', 5)])
def test_a_target_is_a_number_or_as_gb_3838_writes_it(tmp_path: Path, written_as: str, class_: int) -> None:
    town = TOWN.replace("target_class = 3", f"target_class = {written_as}")
    known = site_files.load_site_files(written(tmp_path, areas=AREAS, town=town))
    assert [one.target_class for one in known.sites if one.target_class] == [class_]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(site_files.SiteFileError, match=r"nowhere\.toml: can't be read"):
        site_files.load_site_files([tmp_path / "nowhere.toml"])


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "demo.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    known = site_files.load_site_files(written(tmp_path, town=example))
    assert (len(known.areas), len(known.series), len(known.links)) == (2, 4, 1)


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "a > b", "red\\u001b[31m", "two\\nlines", "re\\u202everse"]
)
def test_a_name_with_markup_or_control_characters_is_refused(tmp_path: Path, name: str) -> None:
    files = [tmp_path / "areas.toml", tmp_path / "town.toml"]
    files[0].write_text(AREAS)
    files[1].write_text(TOWN.replace('en = "Bridge"', f'en = "{name}"'))
    with pytest.raises(site_files.SiteFileError) as caught:
        site_files.load_site_files(files)
    problem = next(one for one in caught.value.problems if "site 'r1' has en" in one)
    assert "leave it out" in problem
    assert problem.isprintable()


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ("{ suspectlow = 6.5 }", "there is no limit 'suspectlow' (did you mean 'suspect_low'?)"),
        ("{ suspect_low = 9, suspect_high = 6 }", "suspect_low 9 is above suspect_high 6"),
        ("{ fail_high = inf }", "fail_high inf is not a finite number"),
        ("{ suspect_low = nan }", "suspect_low nan is not a finite number"),
        ("{ level_memory_s = 0 }", "level_memory_s 0 must be above 0"),
        ("{ fail_low = 20 }", "fail_low 20 is above fail_high 14"),
    ],
)
def test_limits_that_can_not_be_are_refused_with_file_line_and_field(
    limits: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "town.toml"
    head, _, rest = TOWN.partition("[defaults]")
    path.write_text(head + AREAS + "[defaults]" + rest.replace("{ spike_fail = 2.0 }", limits))
    line = next(i for i, one in enumerate(path.read_text().splitlines(), 1) if one.startswith("limits"))
    with pytest.raises(site_files.SiteFileError) as error:
        site_files.load_site_files([path])
    assert error.value.problems == [
        f"{path}, line {line}: site 'r1', limits.ph: {says} (docs/detection.md has all limits)"
    ]


@pytest.mark.parametrize("interval", ["inf", "nan", "0", "2_678_401", "3e6"])
def test_an_interval_that_is_out_of_bounds_is_refused_with_its_line(interval: str, tmp_path: Path) -> None:
    path = tmp_path / "town.toml"
    head, _, rest = TOWN.partition("[defaults]")
    text = head + AREAS + "[defaults]" + rest.replace("interval_s = 60", f"interval_s = {interval}")
    path.write_text(text)
    line = next(i for i, one in enumerate(text.splitlines(), 1) if one.startswith("interval_s"))
    with pytest.raises(site_files.SiteFileError) as error:
        site_files.load_site_files([path])
    assert len(error.value.problems) == 2, "two series"
    for problem in error.value.problems:
        assert problem.startswith(f"{path}, line {line}: series 'r1 / "), problem
        assert problem.endswith("it must be above 0, and at most 2678400 (31 days)")


def test_the_line_of_an_interval_is_that_of_its_own_site(tmp_path: Path) -> None:
    path = tmp_path / "town.toml"
    head, _, rest = TOWN.partition("[defaults]")
    own = rest.replace("target_class = 3", "target_class = 3\ninterval_s = 2_678_401", 1)
    path.write_text(head + AREAS + "[defaults]" + own)
    line = next(i for i, one in enumerate(path.read_text().splitlines(), 1) if one.endswith("2_678_401"))
    with pytest.raises(
        site_files.SiteFileError, match=f"line {line}: series 'r1 / ph' has interval_s 2678401"
    ):
        site_files.load_site_files([path])
    path.write_text(path.read_text().replace("2_678_401", "2_678_400"))
    assert {one.interval_s for one in site_files.load_site_files([path]).series} == {2_678_400.0}


def test_an_alarm_budget_is_given_for_a_file_a_site_or_a_quantity(tmp_path: Path) -> None:
    town = TOWN.replace("interval_s = 60", "interval_s = 60\nalarms_per_month = 0.1").replace(
        "limits = { ph = { spike_fail = 2.0 } }", "limits = { ph = { alarms_per_month = 10 } }"
    )
    series = site_files.load_site_files(written(tmp_path, areas=AREAS, town=town)).series
    limits = {one.quantity: default_limits.effective_limits(one) for one in series}
    assert limits["conductivity"]["score_strong"] == pytest.approx(9)
    assert limits["ph"]["score_strong"] == pytest.approx(7)
    assert limits["ph"]["score_weak"] == pytest.approx(6)
    (found,) = problems(tmp_path, areas=AREAS, town=town.replace("= 0.1", "= 0"))
    assert "alarms_per_month 0 must be above 0" in found


def test_an_area_whose_parents_lead_back_to_it_is_refused_with_the_circle(tmp_path: Path) -> None:
    def area(area_id: str, parent: str) -> str:
        return f'[[areas]]\narea_id = "{area_id}"\nparent = "{parent}"\nlevel = "town"\nen = "A"\nzh = "区"\n'

    path = tmp_path / "areas.toml"
    path.write_text(area("a", "c") + area("b", "a"))
    enrolled = Directory(areas=[Area(area_id="c", parent="b", level="town", en="C", zh="区")])
    with pytest.raises(site_files.SiteFileError) as error:
        site_files.load_site_files([path], enrolled)
    assert error.value.problems == [
        f"{path}: area 'a' has parents that lead back to it (a > c > b > a): correct one of them",
        f"{path}: area 'b' has parents that lead back to it (b > a > c > b): correct one of them",
    ]
    path.write_text(area("c", "c"))
    with pytest.raises(site_files.SiteFileError, match=r"\(c > c\)"):
        site_files.load_site_files([path], enrolled)


def test_a_file_that_may_not_be_read_is_reported_with_the_user_and_a_folder_for_it() -> None:
    """`sudo towntwin enrol` runs as towntwin-admin, who can't read home directories."""
    denied = PermissionError(13, "Permission denied")
    (problem,) = site_format.unreadable_file(Path("t.toml"), denied, "a site file").problems
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert problem == (
        f"t.toml: can't be read (Permission denied): the user {user} has to be able to read it: put it into"
        " /etc/towntwin/sites, with mode 644"
    )
