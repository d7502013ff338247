"""Settings: defaults, precedence, and every mistake at once."""

from pathlib import Path

import pytest

from gateway.config import SETTINGS, Config, ConfigError, default_instance, load


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read no taak.toml but the test's own."""
    monkeypatch.chdir(tmp_path)


def mistakes(flags: dict | None = None, environ: dict | None = None, file: Path | None = None):
    """Return what is wrong with these settings."""
    with pytest.raises(ConfigError) as raised:
        load(flags or {}, environ or {}, file)
    return raised.value.mistakes


class TestDefaults:
    def test_everything_has_a_default(self, tmp_path: Path):
        """Without any source the platform can start, on loopback and in ./.taak."""
        config = load({}, {})
        assert config.home == tmp_path / ".taak"
        assert config.site == tmp_path / ".taak/site/wwwroot"
        assert config.site_is_default
        assert (config.host, config.port) == ("127.0.0.1", 7071)
        assert (config.management_host, config.management_port) == ("127.0.0.1", 7072)
        assert config.store == f"sqlite:///{tmp_path}/.taak/taak.db"
        assert config.instance == default_instance()
        assert (config.drain_s, config.settle_s, config.rescan_s) == (30.0, 0.2, 10.0)
        assert (config.max_connections, config.max_management_connections) == (10_000, 1000)
        assert config.max_connections_per_address == 1000
        times = (config.header_timeout_s, config.idle_timeout_s, config.body_timeout_s)
        assert times == (10.0, 75.0, 30.0)

    def test_the_site_and_the_store_follow_the_home(self, tmp_path: Path):
        """A home that is moved takes what lies in it along."""
        config = load({"home": str(tmp_path / "h")}, {})
        assert config.site == tmp_path / "h/site/wwwroot"
        assert config.store == f"sqlite:///{tmp_path}/h/taak.db"

    def test_a_home_with_odd_characters(self, tmp_path: Path):
        """The store's URL says a path with blanks and signs so that it is read back as it is."""
        config = load({"home": str(tmp_path / "a b%41?#")}, {})
        assert config.store.endswith("/a%20b%2541%3F%23/taak.db")

    def test_the_default_instance_is_a_valid_name(self, monkeypatch: pytest.MonkeyPatch):
        """A host name of any shape becomes a name that the setting itself accepts."""
        for name in ("web-1.example.org", "-strange host!-", "x" * 200, ""):
            monkeypatch.setattr("socket.gethostname", lambda name=name: name)
            assert load({"instance": default_instance()}, {}).instance == default_instance()

    def test_the_key_is_not_in_the_repr(self):
        """A logged Config gives no key away."""
        assert "hush-hush" not in repr(load({}, {"TAAK_MASTER_KEY": "hush-hush"}))


class TestPrecedence:
    def test_flag_beats_environment_beats_file(self, tmp_path: Path):
        """The same setting in three places: the nearest to the user wins."""
        file = tmp_path / "taak.toml"
        file.write_text('port = 1\nmanagement-port = 2\nlog_format = "json"\n')
        environ = {"TAAK_PORT": "3", "TAAK_MANAGEMENT_PORT": "4"}
        config = load({"port": "5"}, environ, file)
        assert (config.port, config.management_port, config.log_format) == (5, 4, "json")

    def test_the_default_file_is_read_when_it_is_there(self, tmp_path: Path):
        """taak.toml in the current directory needs no naming."""
        (tmp_path / "taak.toml").write_text("drain-s = 1.5")
        assert load({}, {}).drain_s == 1.5

    def test_a_url_in_TAAK_HOST_is_meant_for_the_other_verbs(self):  # noqa: N802
        """One environment serves `taak run` and `taak list`."""
        assert load({}, {"TAAK_HOST": "http://far:7072"}).host == "127.0.0.1"
        assert load({}, {"TAAK_HOST": "0.0.0.0"}).host == "0.0.0.0"

    def test_every_setting_has_a_twin_in_the_environment(self, tmp_path: Path):
        """No setting can be set by flag alone."""
        good = {"site": str(tmp_path), "home": "h", "host": "::1", "management_host": "localhost"}
        good |= {"port": "0", "management_port": "0", "store": "memory:", "instance": "a"}
        good |= {
            "log_format": "json",
            "drain_s": "0",
            "settle_s": "1",
            "rescan_s": "2",
            "fast_lane": "off",
        }
        good |= {"max_connections": "1", "max_management_connections": "2"}
        good |= {"max_connections_per_address": "0"}
        good |= {"header_timeout_s": "1", "idle_timeout_s": "2", "body_timeout_s": "3"}
        good |= {"debug_s": "60"}
        good |= {"master_key": "k", "require_sandbox": "standard"}
        config = load({}, {setting.variable: good[setting.name] for setting in SETTINGS})
        changed = [
            s.name for s in SETTINGS if getattr(config, s.name) == getattr(load({}, {}), s.name)
        ]
        assert changed == []


class TestMistakes:
    def test_all_are_told_at_once(self):
        """Three wrong values in two sources give three lines, each naming its source."""
        flags = {"port": "x", "drain_s": "-1"}
        told = mistakes(flags, {"TAAK_LOG_FORMAT": "xml"})
        assert [line.split("=")[0] for line in told] == ["--port", "TAAK_LOG_FORMAT", "--drain-s"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("port", "65536"),
            ("port", "-1"),
            ("port", "\uff18"),
            ("host", "http://x"),
            ("host", ""),
            ("drain_s", "nan"),
            ("settle_s", "0"),
            ("max_connections", "0"),
            ("max_connections", "many"),
            ("max_management_connections", "-1"),
            ("max_connections_per_address", "\u0661"),
            ("max_connections_per_address", "1000001"),
            ("header_timeout_s", "0"),
            ("idle_timeout_s", "0"),
            ("body_timeout_s", "inf"),
            ("instance", "-x"),
            ("instance", "a" * 64),
            ("store", "mysql://x"),
            ("store", "sqlite:taak.db"),
            ("log_format", "TEXT"),
            ("site", "nowhere"),
            ("home", ""),
            ("master_key", "a b"),
        ],
    )
    def test_a_value_that_cannot_be(self, name: str, value: str):
        """Each is refused with what it could have been."""
        (told,) = mistakes({name: value})
        assert ": " in told

    def test_a_file_as_home_is_refused(self, tmp_path: Path):
        """The home is made when missing, but never in place of a file."""
        (tmp_path / "f").write_text("")
        (told,) = mistakes({"home": str(tmp_path / "f")})
        assert "is a file" in told

    def test_a_secret_is_never_repeated(self):
        """The message about a bad key has no key in it."""
        (told,) = mistakes({}, {"TAAK_MASTER_KEY": "top secret"})
        assert "top" not in told

    def test_two_listeners_on_one_port(self):
        """Told before either is opened; two free ports are fine."""
        (told,) = mistakes({"port": "7072"})
        assert "both 7072" in told
        assert load({"port": "0", "management_port": "0"}, {}).port == 0

    def test_the_file_s_mistakes(self, tmp_path: Path):
        """An unknown key is told with the nearest known one, a list with what may stand there."""
        file = tmp_path / "x.toml"
        file.write_text('prot = 1\nhome = ["a"]\nzzz = 1\nport = true\n')
        told = mistakes({}, {}, file)
        assert "did you mean 'port'?" in told[0]
        assert "home: give a text or a number" in told[1]
        assert "known: site, home" in told[2]
        assert "port" in told[3]

    @pytest.mark.parametrize(
        ("text", "value"), [("true", True), ("false", False), ('"off"', False)]
    )
    def test_a_switch_in_the_file_may_be_a_boolean(self, tmp_path: Path, text: str, value: bool):
        """TOML has a word for it; where a number is meant, it is still a mistake."""
        file = tmp_path / "x.toml"
        file.write_text(f"fast_lane = {text}")
        assert load({}, {}, file).fast_lane is value
        file.write_text("port = true")
        assert "port: give a text or a number" in mistakes({}, {}, file)[0]

    def test_a_named_file_must_be_there_and_be_toml(self, tmp_path: Path):
        """--config nowhere is a mistake, and so is a file that cannot be parsed."""
        (absent,) = mistakes({}, {}, tmp_path / "absent.toml")
        assert "cannot be read" in absent
        (tmp_path / "bad.toml").write_text("port == 1")
        (bad,) = mistakes({}, {}, tmp_path / "bad.toml")
        assert "not TOML" in bad


def test_a_config_cannot_change():
    """Frozen: what was checked is what runs."""
    with pytest.raises(AttributeError):
        load({}, {}).port = 1  # type: ignore[misc]
    assert isinstance(load({}, {}), Config)
