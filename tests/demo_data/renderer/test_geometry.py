import numpy as np
import pytest

from demo_data.renderer.geometry import Pose, Projector, smooth


def test_a_frontal_pose_keeps_directions():
    origin, right, down = Projector(Pose(), 100.0)(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]))
    assert right[0] > origin[0]
    assert right[1] == pytest.approx(origin[1])
    assert down[1] > origin[1]
    assert right[0] - origin[0] == pytest.approx(100 * Pose().scale, rel=0.01)


@pytest.mark.parametrize(("pose", "axis", "sign"), [(Pose(yaw=30), 0, 1), (Pose(pitch=30), 1, 1)])
def test_the_nose_leads_where_the_head_turns(pose, axis, sign):
    nose = np.array([[0.0, 0.28, 1.0]])
    moved = Projector(pose, 100.0)(nose) - Projector(Pose(), 100.0)(nose)
    assert moved[0, axis] * sign > 5


def test_roll_turns_clockwise():
    centre, right = Projector(Pose(roll=90), 100.0)(np.array([[0.0, 0.28, 0], [1, 0.28, 0]]))
    assert right[1] - centre[1] == pytest.approx(100 * Pose().scale)
    assert right[0] == pytest.approx(centre[0])


def test_near_points_look_larger():
    near, far = (Projector(Pose(), 100.0)(np.array([[1.0, 0.28, z]]))[0, 0] for z in (1.0, -1.0))
    assert near > far


@pytest.mark.parametrize("closed", [False, True])
def test_a_curve_passes_through_its_points(closed):
    points = np.random.default_rng(0).normal(size=(6, 3))
    curve = smooth(points, closed=closed, steps=5)
    for point in points:
        assert np.abs(curve - point).sum(axis=1).min() < 1e-12
    assert len(curve) == (30 if closed else 26)


def test_a_straight_line_stays_straight():
    line = np.linspace([0.0, 0.0], [10.0, 5.0], 4)
    curve = smooth(line, steps=8)
    np.testing.assert_allclose(curve[:, 1], curve[:, 0] / 2, atol=1e-12)


def test_sampled_poses_without_spread_are_frontal():
    assert Pose.sample(np.random.default_rng(0), spread=0.0) == Pose()
