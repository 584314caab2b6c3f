"""`farlink scenarios netem`: the same link for real sockets, as orders to Linux's tc.

What netem can say of a hop: a constant rate, delay, jitter without a shape of its own, loss by packets (independent,
or Gilbert and Elliott's), copies. What it cannot is said in words.
"""

from collections.abc import Iterator
from math import ceil

from link.channel.loss import LossModel
from link.channel.loss.bernoulli import BernoulliLoss
from link.channel.loss.gilbert_elliott import GilbertElliottLoss
from link.config import Session
from link.hops import HopConfig, Jitter, Outage, ReturnHop

LONGEST_S = 274.0
"""Of a delay that iproute2 before 6.9 takes: it counts in units of 64 ns in 32 bits."""
_LEAST_QUEUE = 1000
"""netem's own `limit`, in packets."""
GENERAL = (
    "netem draws losses before its transmitter: what is lost takes no time on the air, here it does",
    "limit counts the packets under way as well as those that wait, so it is large where delays are long",
    "seed N repeats a run from iproute2 6.6 on",
)


def gemodel(model: GilbertElliottLoss) -> tuple[float, float, float, float]:
    """Return netem's (p, r, 1-h, 1-k) of *model*, shares from 0 to 1.

    netem's chain is in the bad state a share p/(p+r) of all packets, and loses 1-h there and 1-k in the good one.
    """
    spread = model.loss_bad - model.loss_good
    bad = (model.loss - model.loss_good) / spread if spread else 0.0
    r = 1.0 / model.mean_burst
    return r * bad / (1.0 - bad), r, model.loss_bad, model.loss_good


def loss_words(model: LossModel | None) -> tuple[str, str | None]:
    """Return netem's words for *model*, and what they leave out, None for nothing."""
    if model is None:
        return "", None
    if isinstance(model, GilbertElliottLoss):
        return "loss gemodel " + " ".join(f"{_percent(share)}" for share in gemodel(model)), None
    if isinstance(model, BernoulliLoss):
        return f"loss {_percent(model.loss)}", None
    share = model.mean_loss
    return (
        f"loss {_percent(share)}",
        f"it {model.words()}; netem loses {_percent(share)} of packets one by one",
    )


def order(
    hop: HopConfig | ReturnHop, name: str, delay_s: float, mtu_bytes: int, device: str
) -> tuple[str, list[str]]:
    """Return the tc command of one way, and what it cannot say, in sentences."""
    notes: list[str] = []
    words = [f"tc qdisc add dev {device} root netem"]
    rate = hop.rate_bps
    if rate is None:
        notes.append("a trace's rate changes all the time: no rate is set; replay it with mahimahi's mm-link")
    else:
        words.append(f"rate {_rate(rate)}")
        if rate < 8.0 or rate / 8.0 != int(rate / 8.0):
            notes.append(
                f"netem counts whole bytes a second: {rate:g} bit/s become {int(rate / 8.0) * 8} bit/s"
            )
    words += _delay(hop.jitter, delay_s, notes)
    flying = ceil(delay_s * rate / (8 * mtu_bytes)) if rate is not None else 0
    waiting = ceil(hop.queue.limit_bytes / mtu_bytes)
    words.append(f"limit {max(_LEAST_QUEUE, flying + waiting)}")
    loss, left = loss_words(hop.loss)
    words += [loss] if loss else []
    notes += [left] if left else []
    if hop.bit_error_rate:
        spoiled = 1.0 - (1.0 - hop.bit_error_rate) ** (8 * mtu_bytes)
        words.append(f"corrupt {_percent(spoiled)}")
        notes.append(f"netem flips one bit of a packet: {_percent(spoiled)} of packets of {mtu_bytes} bytes")
    if hop.duplicate_ratio:
        words.append(f"duplicate {_percent(hop.duplicate_ratio)}")
    if hop.outage is not None:
        notes.append(_outage(hop.outage))
    if isinstance(hop, HopConfig) and hop.retransmit is not None:
        notes.append("what the hop sends again by itself is not said: its losses are those of the air")
    if hop.budget_steps is not None:
        notes.append(f"the rate follows the distance in {len(hop.budget_steps)} steps: the mean is set")
    if delay_s > LONGEST_S:
        notes.append("iproute2 before 6.9 (Debian 12 has 6.1) refuses delays of over 274 s")
    return " ".join(words), [f"{name}: {note}" for note in notes]


def _delay(jitter: Jitter | None, delay_s: float, notes: list[str]) -> list[str]:
    if jitter is None:
        return [f"delay {_time(delay_s)}"] if delay_s else []
    if jitter.model == "uniform":
        half = jitter.scale_s / 2.0
        return [f"delay {_time(delay_s + half)} {_time(half)}"]
    notes.append(f"jitter is {jitter.model}, 0 at least: netem's is symmetric, and may let packets overtake")
    return [f"delay {_time(delay_s + jitter.scale_s)} {_time(jitter.scale_s)} distribution normal"]


def _outage(outage: Outage) -> str:
    what = "hold with rate 8bit or lose" if outage.hold else "lose"
    if outage.up_s is not None and outage.down_s is not None:
        return (
            f"up for {outage.up_s:g} s and down for {outage.down_s:g} s in turn: {what} by `tc qdisc change ... loss "
            "100%` at these times"
        )
    return f"{len(outage.windows_s)} outages: {what} by `tc qdisc change ... loss 100%` at their times"


def _rate(bps: float) -> str:
    return f"{bps:.10g}bit"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.10g}ms" if seconds < 1.0 else f"{seconds:.10g}s"


def _percent(share: float) -> str:
    return f"{share * 100:.5g}%"


def commands(plan: Session, device: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (way, tc command, what it cannot say) of each hop out and of the way back."""
    link = plan.link
    for hop in link.hops:
        yield hop.name, *order(hop, hop.name, hop.delay_s, link.mtu_bytes, device)
    if link.return_ is not None:
        back = link.return_
        yield "return", *order(back, "return", link.back_delay_s, link.mtu_bytes, device)
