"""Error rates of modulations and codes: closed forms, printed points, simulated modems and decoders."""

from itertools import pairwise
from math import log2

import numpy as np
import pytest
from test_budget import noise, within_99

from link.physics import budget, lora, modulation, optical
from link.physics.codes import codes, rs_word_error
from link.seeds import generator

# Uncoded modulations

AT_8_DB = {
    "bpsk": 1.909078e-4, "qpsk": 1.909078e-4, "msk": 1.909078e-4, "bpsk-differential": 3.817427e-4,
    "dbpsk": 9.094044e-4, "dqpsk": 3.642943e-3, "gmsk": 1.698425e-3, "fsk-2": 2.132375e-2, "fsk-4": 1.683727e-3,
    "fsk-8": 1.444936e-4, "fsk-16": 1.253771e-5,
}  # fmt: skip


def test_error_rates_at_8_db():
    assert set(AT_8_DB) == set(modulation.MODULATIONS)
    for name, rate in AT_8_DB.items():
        assert modulation.MODULATIONS[name](budget.from_db(8)) == pytest.approx(rate, rel=1e-6), name
    assert modulation.solve_db(modulation.psk_error_rate, 1e-5) == pytest.approx(9.588, abs=5e-4)


@pytest.mark.parametrize(
    ("factor", "db"), [*zip(range(7, 13), (-6.35, -9.17, -12.00, -14.85, -17.69, -20.55))]
)
def test_loras_limits(factor, db):
    assert modulation.solve_db(
        lambda snr: modulation.lora_error_rate(snr, factor), 1e-5, -40, 20
    ) == pytest.approx(db, abs=0.01)


def test_error_rates_are_some_at_any_signal():
    for db in (-500.0, -100.0, -30.0, 0.0, 40.0, 100.0, 500.0):
        g = budget.from_db(db)
        rates = {name: rate(g) for name, rate in modulation.MODULATIONS.items()}
        rates |= {f"sf{factor}": modulation.lora_error_rate(g, factor) for factor in lora.FACTORS}
        rates |= {name: code.error(db).rate for name, code in codes().items()}
        rates |= {"light": optical.word_error(optical.erasure(g), 3780, 0.5)}
        assert all(0.0 <= rate <= 1.0 for rate in rates.values()), (db, rates)


def test_the_sum_and_the_integral_agree():
    for snr in (3.0, 8.0, 20.0):
        found = modulation.orthogonal_symbol_error_rate(32, snr)
        around = [modulation.orthogonal_symbol_error_rate(size, snr) for size in (31, 33)]
        assert around[0] < found < around[1]
        assert found == pytest.approx(sum(around) / 2, rel=1e-3)


def _antipodal(rng, g, count):
    bits = rng.integers(0, 2, count)
    return int(np.sum((np.sqrt(2 * g) * (1 - 2 * bits) + rng.standard_normal(count) < 0) != bits))


def _msk(rng, g, count):
    """Half-sine pulses, alternately in phase and in quadrature, sampled and filtered by what they are matched to."""
    samples = 8
    pulse = np.sin(np.pi * (np.arange(2 * samples) + 0.5) / (2 * samples))
    bits = rng.integers(0, 2, count)
    wave = np.zeros((count + 2) * samples, complex)
    for phase in (0, 1):
        mine = 1 - 2.0 * bits[phase::2]
        train = np.zeros(len(wave))
        for at, sign in enumerate(mine):
            begin = (2 * at + phase) * samples
            train[begin : begin + 2 * samples] += sign * pulse
        wave += train * (1j if phase else 1)
    energy = np.sum(pulse**2)
    wave = wave + noise(rng, len(wave)) * np.sqrt(energy / g)
    wrong = 0
    for phase in (0, 1):
        part = wave.imag if phase else wave.real
        for at, bit in enumerate(bits[phase::2]):
            begin = (2 * at + phase) * samples
            wrong += int((part[begin : begin + 2 * samples] @ pulse < 0) != bit)
    return wrong


def _differentially_encoded(rng, g, count):
    # Every second decoded bit: neighbours share a symbol, and err together.
    sent = rng.integers(0, 2, (count, 2))
    seen = np.sqrt(2 * g) * (1 - 2 * sent) + rng.standard_normal((count, 2)) < 0
    return int(np.sum((seen[:, 0] ^ seen[:, 1]) != (sent[:, 0] ^ sent[:, 1])))


def _dbpsk(rng, g, count):
    bits = rng.integers(0, 2, count)
    first, second = np.sqrt(g) + noise(rng, count), np.sqrt(g) * (1 - 2 * bits) + noise(rng, count)
    return int(np.sum(((first.conj() * second).real < 0) != bits))


def _dqpsk(rng, g, count):
    """The first of each pair of bits; the second errs as often."""
    pair = rng.integers(0, 2, (2, count))
    quarter = np.array([[0, 1], [3, 2]])[pair[0], pair[1]]  # Gray
    es = 2 * g
    first, second = np.sqrt(es) + noise(rng, count), np.sqrt(es) * 1j**quarter + noise(rng, count)
    turned = np.round(np.angle(first.conj() * second) / (np.pi / 2)).astype(int) % 4
    return int(np.sum(np.array([0, 0, 1, 1])[turned] != pair[0]))


def _fsk(alphabet):
    def count_errors(rng, g, count):
        """The first bit of each symbol."""
        sent = rng.integers(0, alphabet, count)
        tones = noise(rng, count, alphabet)
        tones[np.arange(count), sent] += np.sqrt(g * log2(alphabet))
        return int(np.sum((np.abs(tones).argmax(axis=1) >= alphabet // 2) != (sent >= alphabet // 2)))

    return count_errors


SIMULATED = {
    "bpsk": (_antipodal, 4.0, 200_000), "qpsk": (_antipodal, 5.0, 200_000), "msk": (_msk, 4.0, 20_000),
    "bpsk-differential": (_differentially_encoded, 4.0, 200_000), "dbpsk": (_dbpsk, 5.0, 200_000),
    "dqpsk": (_dqpsk, 6.0, 200_000), "fsk-2": (_fsk(2), 8.0, 200_000), "fsk-4": (_fsk(4), 6.0, 100_000),
    "fsk-8": (_fsk(8), 5.0, 60_000), "fsk-16": (_fsk(16), 4.0, 40_000),
}  # fmt: skip


@pytest.mark.parametrize("name", SIMULATED)
def test_a_simulated_modem_errs_as_predicted(name):
    count_errors, db, count = SIMULATED[name]
    g = budget.from_db(db)
    wrong = count_errors(generator(12, name), g, count)
    assert within_99(wrong, count, modulation.MODULATIONS[name](g)), (wrong, count)


@pytest.mark.parametrize(("factor", "snr_db", "count"), [(7, -10.0, 12_000), (9, -16.0, 3_000)])
def test_simulated_chirps_err_as_predicted(factor, snr_db, count):
    rng, size = generator(7, f"lora-{factor}"), 1 << factor
    n = np.arange(size)
    up = np.exp(1j * np.pi * n * n / size)
    sent = rng.integers(0, size, count)
    chirps = up[None, :] * np.exp(2j * np.pi * sent[:, None] * n[None, :] / size)
    seen = chirps + noise(rng, count, size) / np.sqrt(budget.from_db(snr_db))
    found = np.abs(np.fft.fft(seen * up.conj()[None, :], axis=1)).argmax(axis=1)
    share = modulation.lora_error_rate(budget.from_db(snr_db), factor)
    assert 0.01 < share < 0.2
    assert within_99(int(np.sum((found >= size // 2) != (sent >= size // 2))), count, share)


# Codes


def test_a_reed_solomon_word():
    for db, rate, tolerance in (
        (5.8, 2.33e-2, 0.01),
        (6, 4.918058e-3, 2e-6),
        (6.2, 7.69e-4, 0.01),
        (6.4, 8.94e-5, 0.01),
    ):
        assert rs_word_error(budget.from_db(db)) == pytest.approx(rate, rel=tolerance)
    assert rs_word_error(budget.from_db(6)) == pytest.approx(4.918058e-3, abs=1e-8)
    rng, words = generator(3, "rs"), 4000
    bit = modulation.q(np.sqrt(2 * budget.from_db(5.8) * 223 / 255))
    symbols = (rng.random((words, 255, 8), np.float32) < bit).any(axis=2).sum(axis=1)
    assert within_99(int((symbols > 16).sum()), words, rs_word_error(budget.from_db(5.8)))


@pytest.mark.parametrize("name", codes())
def test_a_codes_table_is_what_it_says(name):
    code = codes()[name]
    assert code.source and code.uncertainty and code.title
    assert 0 < code.code_rate < 1
    for db, rate in code.points:
        assert code.word_error(db).rate == rate and not code.word_error(db).floored
    for (low, before), (high, after) in pairwise(code.points):
        assert low < high and before > after
        middle = code.word_error((low + high) / 2).rate
        assert middle == pytest.approx((before * after) ** 0.5, rel=1e-9), "log10 is linear in dB"
    dbs = np.linspace(-3, 9, 400)
    rates = [code.error(db).rate for db in dbs]
    assert all(one >= other for one, other in pairwise(rates))
    assert rates[0] in (0.5, 1.0)
    wanted = code.points[-1][1] * 2 if code.points else 1e-4
    assert code.word_error(code.required_db(wanted)).rate == pytest.approx(wanted, rel=1e-6)
    if code.points and code.tail is None:
        last, floor = code.points[-1]
        assert code.word_error(last + 3).rate == floor and code.word_error(last + 3).floored
        with pytest.raises(ValueError, match="no source says what it takes"):
            code.required_db(floor / 2)


def test_a_few_points_as_printed():
    table = codes()
    for name, db, rate in (
        ("conv-7-1/2", 2, 4.9e-3), ("conv-7-1/2", 3.5, 9.1e-5), ("rs-conv-i5", 2.3, 8.2e-4), ("rs-conv-i1", 2.4, 5e-4),
        ("turbo-1784-1/2", 1.2, 8.8e-3), ("turbo-1784-1/3", 0.6, 3.3e-3), ("turbo-1784-1/6", 0, 1.6e-2),
        ("turbo-8920-1/6", -0.3, 0.11), ("ar4ja-1024-1/2", 1.4, 8.4e-3), ("ar4ja-4096-2/3", 1.7, 0.1),
        ("ar4ja-16384-4/5", 2.5, 0.16), ("ldpc-c2", 3.6, 3.5e-2), ("ldpc-tc-128", 5.5, 1.1e-6),
    ):  # fmt: skip
        assert table[name].word_error(db).rate == rate
    assert [table["conv-7-1/2"].word_error(db).rate for db in (4.2, 5, 6)] == [
        pytest.approx(9.1e-6, rel=0.01), pytest.approx(4.4e-7, rel=0.02), pytest.approx(5.6e-9, rel=0.02)
    ]  # fmt: skip
    assert (table["rs-conv-i5"].block_bits, table["rs-conv-i5"].words_in_a_block) == (8920, 5)


def test_a_viterbi_decoder_errs_as_the_table_says():
    """CCSDS's (7, 1/2), 171 and 133 octal, at 2 dB: the mean over blocks within its own 99 % and the table's 20 %."""
    rng, blocks, length, db = generator(5, "viterbi"), 500, 400, 2.0
    bits = np.concatenate([rng.integers(0, 2, (blocks, length)), np.zeros((blocks, 6), int)], axis=1)
    polynomials = [0o171, 0o133]
    outputs = np.array(
        [[[bin(((b << 6) | s) & p).count("1") & 1 for p in polynomials] for b in (0, 1)] for s in range(64)]
    )
    state, sent = np.zeros(blocks, int), []
    for at in range(bits.shape[1]):
        sent.append(outputs[state, bits[:, at]])
        state = (bits[:, at] << 5) | (state >> 1)
    symbols = 1 - 2.0 * np.stack(sent, axis=1)
    seen = symbols * np.sqrt(2 * budget.from_db(db) * 0.5) + rng.standard_normal(symbols.shape)
    # A state's two predecessors differ in the bit that falls out; the bit that came in is its highest.
    states = np.arange(64)
    before = np.stack([((states & 31) << 1), ((states & 31) << 1) | 1], axis=1)
    signs = 1 - 2.0 * outputs[before, (states >> 5)[:, None]]
    metric = np.full((blocks, 64), -1e9)
    metric[:, 0] = 0
    chosen = np.empty((bits.shape[1], blocks, 64), np.int8)
    for at in range(bits.shape[1]):
        both = metric[:, before] + np.einsum("bc,skc->bsk", seen[:, at], signs)
        chosen[at] = both.argmax(axis=2)
        metric = both.max(axis=2)
    state, found = np.zeros(blocks, int), np.empty_like(bits)
    for at in reversed(range(bits.shape[1])):
        found[:, at] = state >> 5
        state = before[state, chosen[at, np.arange(blocks), state]]
    wrong = (found != bits)[:, :length].mean(axis=1)
    table = codes()["conv-7-1/2"].word_error(db).rate
    spread = 2.576 * wrong.std() / np.sqrt(blocks)
    assert table * 0.8 - spread < wrong.mean() < table * 1.2 + spread
