import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simyard.domain.errors import Refused
from simyard.numerics import gaussian
from simyard.numerics.gaussian import Acquisition, Bounded, fit, log_improvement

np = pytest.importorskip("numpy")
special = pytest.importorskip("scipy.special")


def smooth(x):
    return np.sin(5 * x[:, 0]) + 3 * x[:, 1] ** 2


def spread(n, d, seed=0):
    return np.random.default_rng(seed).random((n, d))


# --- the model ------------------------------------------------------------------------------------


def test_a_smooth_function_is_learnt():
    x, new = spread(50, 2), 0.1 + 0.8 * spread(200, 2, seed=1)
    model = fit(x, smooth(x))
    mean, sd = model.predict(new)
    assert np.abs(mean - smooth(new)).max() < 0.05
    assert np.mean(np.abs(mean - smooth(new)) < 3 * sd + 1e-6) > 0.95
    assert np.allclose(model.mean(new), mean)
    assert 0.99 < model.r2() <= 1


def test_an_input_that_does_nothing_gets_a_long_length():
    x = spread(60, 3)
    lengths = fit(x, smooth(x)).lengths
    assert lengths[2] > 3 * max(lengths[0], lengths[1])


def test_noise_is_seen_as_noise():
    x = spread(120, 1)
    y = np.sin(5 * x[:, 0]) + 0.3 * np.random.default_rng(1).standard_normal(120)
    model = fit(x, y)
    noise = math.sqrt(model.noise * model.variance) * model.scale
    assert 0.2 < noise < 0.4
    assert 0.6 < model.r2() < 0.97
    assert np.abs(model.mean(x) - np.sin(5 * x[:, 0])).max() < 0.3


def test_an_output_of_pure_noise_has_no_quality():
    rng = np.random.default_rng(3)
    assert fit(rng.random((60, 2)), rng.standard_normal(60)).r2() < 0.2


def test_doubt_grows_away_from_the_points():
    model = fit(np.array([[0.1], [0.2], [0.3], [0.35]]), np.array([1.0, 2.0, 0.0, 1.0]))
    _, sd = model.predict([[0.2], [0.25], [0.9]])
    assert sd[0] < sd[1] < sd[2]


def test_leave_one_out_is_what_leaving_out_gives():
    x = spread(15, 2)
    y = smooth(x) + 0.1 * np.random.default_rng(2).standard_normal(15)
    model = fit(x, y)
    mean, sd = model.leave_one_out()
    for i in range(15):
        rest = np.arange(15) != i
        left = gaussian._conditioned(model, model.x[rest], model.y[rest])
        there, doubt = left.predict(x[i : i + 1])
        noise = model.noise * model.variance * model.scale**2
        assert mean[i] == pytest.approx(there[0], abs=1e-6)
        assert sd[i] == pytest.approx(math.sqrt(doubt[0] ** 2 + noise), rel=1e-5)


def test_the_slope_of_the_likelihood():
    x = spread(12, 3)
    y = smooth(x) - smooth(x).mean()
    theta = np.array([-0.5, 0.3, 0.9, -6.0])
    _, slope = gaussian._unlikelihood(theta, x, y, 0.1)
    for k in range(4):
        step = 1e-5 * np.eye(4)[k]
        above, _ = gaussian._unlikelihood(theta + step, x, y, 0.1)
        below, _ = gaussian._unlikelihood(theta - step, x, y, 0.1)
        assert slope[k] == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-6)


def test_the_same_points_give_the_same_model():
    x = spread(20, 2)
    one, other = fit(x, smooth(x), seed=4), fit(x, smooth(x), seed=4)
    assert np.array_equal(one.lengths, other.lengths)
    assert np.array_equal(one.predict(x)[1], other.predict(x)[1])


def test_units_of_the_output_do_not_matter():
    x, new = spread(20, 2), spread(5, 2, seed=1)
    mean, sd = fit(x, smooth(x)).predict(new)
    for scale in (1e-200, 1e200):
        large, doubt = fit(x, smooth(x) * scale).predict(new)
        assert np.allclose(large / scale, mean, rtol=1e-4)
        assert np.allclose(doubt / scale, sd, rtol=1e-3, atol=1e-6)


# --- hard cases -----------------------------------------------------------------------------------


def test_one_point():
    model = fit([[0.5]], [7.0])
    mean, sd = model.predict([[0.5], [0.9]])
    assert mean == pytest.approx([7.0, 7.0])
    assert np.isfinite(sd).all()
    assert sd[0] < sd[1]
    assert model.r2() is None


def test_equal_outputs():
    mean, sd = (model := fit(spread(10, 2), np.full(10, -3.0))).predict(spread(20, 2, seed=1))
    assert mean == pytest.approx(np.full(20, -3.0))
    assert (sd < 1e-2).all()
    assert model.r2() is None


def test_points_that_are_there_several_times():
    x = np.repeat(spread(5, 2), 4, axis=0)
    assert np.abs(fit(x, smooth(x)).mean(x) - smooth(x)).max() < 0.05
    quarrel = fit([[0.5]] * 4, [1.0, 3.0, 1.0, 3.0])
    assert quarrel.mean([[0.5]])[0] == pytest.approx(2.0)


def test_inputs_on_a_line():
    t = np.linspace(0, 1, 25)
    x = np.column_stack([t, t, 2 * t - 0.5])
    model = fit(x, np.sin(4 * t))
    assert model.r2() > 0.99


def test_more_points_than_are_modelled():
    n = gaussian.MOST_POINTS + 20
    x = spread(n, 1)
    model = fit(x, np.sin(3 * x[:, 0]))
    assert (len(model.y), model.given) == (gaussian.MOST_POINTS, n)
    assert np.abs(model.mean([[0.5]]) - math.sin(1.5)) < 1e-2


@given(
    st.integers(1, 3).flatmap(
        lambda d: st.lists(
            st.tuples(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * d), st.floats(-9, 9)),
            min_size=1,
            max_size=9,
        )
    )
)
@settings(max_examples=30, deadline=None)
def test_any_few_points_give_a_finite_model(rows):
    model = fit([x for x, _ in rows], [y for _, y in rows])
    mean, sd = model.predict([x for x, _ in rows])
    assert np.isfinite(mean).all()
    assert (sd >= 0).all()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([], [], "n >= 1"),
        ([[0.0], [1.0]], [1.0], "n >= 1; has"),
        ([0.0, 1.0], [1.0, 2.0], "n x d inputs"),
        ([[math.nan]], [1.0], "must be finite"),
        ([[1.0]], [math.inf], "must be finite"),
    ],
)
def test_what_is_no_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        fit(x, y)


# --- what a point promises ------------------------------------------------------------------------


def test_believing_keeps_the_mean_and_takes_the_doubt():
    x = spread(12, 2)
    model = fit(x, smooth(x))
    new, others = np.array([[0.9, 0.9]]), spread(10, 2, seed=1)
    after = model.believing(new)
    assert np.allclose(after.mean(others), model.mean(others), atol=1e-3)
    assert after.predict(new)[1][0] < 0.1 * model.predict(new)[1][0]
    assert model.believing(np.zeros((0, 2))) is model


def test_log_improvement_far_out():
    z = np.array([-3.0, -1.0 - 1e-9, -1.0, 0.0, 2.0])
    plain = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) + z * special.ndtr(z)
    assert np.exp(log_improvement(z)) == pytest.approx(plain, rel=1e-9)
    far = log_improvement(np.array([-1e6, -2e3, -1.1e3, -0.9e3, -30.0, 1e6]))
    assert np.isfinite(far).all()
    assert (np.diff(far) > 0).all()
    # phi(z) / z^2 (1 - 3 / z^2): the expansion for z far below 0
    expected = -450.0 - 0.5 * math.log(2 * math.pi) - 2 * math.log(30) + math.log(1 - 3 / 900)
    assert log_improvement(np.array([-30.0]))[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("ends", [(None, 0.5), (0.2, None), (0.2, 0.5), (-9.0, -8.0), (8.0, 9.0)])
def test_the_chance_of_keeping_limits(ends):
    x = spread(6, 1)
    model = fit(x, np.sin(9 * x[:, 0]))
    new = spread(8, 1, seed=1)
    mean, sd = model.predict(new)
    lower, upper = (-np.inf if ends[0] is None else ends[0], np.inf if ends[1] is None else ends[1])
    chance = special.ndtr((upper - mean) / sd) - special.ndtr((lower - mean) / sd)
    found = Bounded(model=model, lower=ends[0], upper=ends[1]).log_chance(new)
    assert np.isfinite(found).all()
    assert np.exp(found) == pytest.approx(chance, abs=1e-9)


def test_the_slope_of_the_acquisition():
    x = spread(10, 2)
    model = fit(x, smooth(x))
    search = Acquisition(
        model=model, best=1.0, bounded=[Bounded(model=model, lower=-1.0, upper=2.0)]
    )
    point = np.array([0.4, 0.7])
    value, slope = search.with_slope(point)
    ahead = search((point + 1e-4 * slope / np.linalg.norm(slope))[None, :])[0]
    assert value == pytest.approx(search(point[None, :])[0])
    assert ahead - value == pytest.approx(1e-4 * np.linalg.norm(slope), rel=0.05)


# --- without the extra packages -------------------------------------------------------------------


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.fft", None)
    with pytest.raises(Refused, match=r"pip install 'simyard\[studies\]'"):
        gaussian.needed("scipy.fft")
