import cv2
import numpy as np
import pytest

from demo_data import contact_sheet as sheet


@pytest.mark.parametrize(
    ("name", "options", "rows", "columns"),
    [
        ("people", {"rows": 2, "columns": 3}, 2, 3),
        ("expressions", {"columns": 1}, 9, 1),
        ("action_units", {"steps": (1.0,)}, 19, 2),
        ("videos", {"rows": 1, "columns": 2}, 1, 2),
        ("synthetic", {"columns": 1}, 6, 1),
    ],
)
def test_a_sheet_holds_a_tile_for_each_face(name, options, rows, columns):
    picture = getattr(sheet, name)(16, 0, **options)
    assert picture.shape == (16 * rows, 16 * columns, 3)
    assert picture.std() > 10


def test_sheets_are_written_to_the_folder_given(tmp_path, monkeypatch):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    names = ("people", "expressions", "action_units", "videos", "synthetic")
    for name in names:
        monkeypatch.setattr(sheet, name, lambda size, seed: red)
    paths = sheet.write_sheets(tmp_path / "sheets")
    assert paths == [tmp_path / "sheets" / f"{name}.png" for name in names]
    for path in paths:
        np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], red)
