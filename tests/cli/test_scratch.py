"""What a killed command left behind goes with the next one; what another is at stays."""

import subprocess
import sys
from pathlib import Path

from gateway.cli.scratch import scratch_folder

HOLDS = """
import sys
from pathlib import Path
from gateway.cli.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "kept").write_text("")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_goes_with_its_command_or_with_the_next_one_where_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "cassette-notes").write_text("somebody's")
    (tmp_path / "keys").mkdir()
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        held = Path(other.stdout.readline().strip())
        with scratch_folder(tmp_path) as folder:
            assert (folder.is_dir(), (held / "kept").is_file()) == (True, True)  # its maker lives
        assert not folder.exists()
        other.kill()
        other.wait()
        assert (held / "kept").is_file()
    with scratch_folder(tmp_path) as folder:
        assert sorted(each.name for each in tmp_path.iterdir()) == sorted([folder.name, "cassette-notes", "keys"])
