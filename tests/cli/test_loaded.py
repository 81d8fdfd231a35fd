"""What commands know of a configuration."""

from pathlib import Path

from gateway.cli.loaded import load_now


def test_a_secret_in_the_file_itself_is_kept_from_every_output_like_one_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        'version: 1\nmcpServers: { crm: { url: "https://crm.example/mcp", headers: { X-Api-Key: 0a1b2c3d4e } } }\n'
    )
    assert load_now(path).secrets == {"0a1b2c3d4e"}
