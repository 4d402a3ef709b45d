import pytest

from demo_data.__main__ import main


@pytest.mark.parametrize(
    "command",
    [
        "faces --people 1 --images-per-person 1 --val-images-per-person 1 --size 24",
        "affectnet --train 8 --validation 8 --size 32",
        "affectnet --train 8 --validation 8 --size 32 --layout b",
        "aff-wild2 --train 6 --validation 6 --test 6",
        "synthetic --train 12 --validation 12 --test 2",
    ],
)
def test_each_set_is_drawn_once(tmp_path, capsys, command):
    arguments = [*command.split(), "--workers", "1", "--root", str(tmp_path / "set")]
    main(arguments)
    assert capsys.readouterr().out.rstrip().endswith("drawn")
    main(arguments)
    assert capsys.readouterr().out.rstrip().endswith("up to date")


def test_foreign_folder_is_refused_in_a_sentence(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit) as error:
        main(["faces", "--root", str(tmp_path)])
    assert error.value.code == 2
    assert "not drawn by demo_data" in capsys.readouterr().err


def test_help_names_every_set(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in ("faces", "affectnet", "aff-wild2", "synthetic", "sheet"))
