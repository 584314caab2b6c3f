"""What a scenario's link is like, in words: its hops, the way back, what repairs losses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from link.channel.loss import loss_words
from scenarios.results.traffic import Traffic
from scenarios.words import duration, percent, rate, size


def hop_words(link: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return `name`, `rate` and `words` of each hop of *link*, as the journal's head has it."""
    return [_hop_words(hop, _shared_words(hop, link)) for hop in link["hops"]]


def _hop_words(hop: Mapping[str, Any], others: Sequence[str]) -> dict[str, str]:
    pace = f"the rate of a trace ({Path(hop['trace']).name})" if hop.get("trace") else rate(hop["rate_bps"])
    if hop.get("budget_steps"):
        pace += " on average, by the distance"
    return {
        "name": hop["name"],
        "rate": pace,
        "words": ", ".join([*_troubles(hop, hop.get("delay_s", 0.0)), *others]),
    }


def _shared_words(hop: Mapping[str, Any], link: Mapping[str, Any]) -> list[str]:
    """Say who else is on the channel of *hop*."""
    medium = link.get("medium")
    if not medium:
        return []
    on_it = [medium.get("hop") or link["hops"][0]["name"], *medium.get("hops", ())]
    if hop["name"] not in on_it:
        return []
    access = {"aloha": "who send when they will", "slotted": "who send in slots", "csma": "who listen first"}
    parts = []
    if medium["senders"] > 1:
        parts.append(f"shared by {medium['senders']} senders {access[medium['access']]}")
    if len(on_it) > 1:
        parts.append(f"on one channel with {', '.join(name for name in on_it if name != hop['name'])}")
    if medium["duty_cycle"] < 1.0:
        parts.append(f"each sends {percent(medium['duty_cycle'])} of the time at most")
    if medium["duplex"] == "half":
        parts.append("the way back is the same channel, and who sends is deaf")
    return parts


def _troubles(hop: Mapping[str, Any], delay_s: float | None) -> list[str]:
    """Return delay, losses and whatever else a hop does to packets."""
    parts = []
    if delay_s is not None:
        parts.append(f"{duration(delay_s)} one way" if delay_s else "no delay")
    if hop.get("jitter"):
        parts.append(f"jitter of {duration(hop['jitter']['scale_s'])} ({hop['jitter']['model']})")
    loss = hop.get("loss")
    if loss is None:
        parts.append("no random loss")
    else:
        parts.append(loss_words(loss))
    if hop.get("bit_error_rate"):
        parts.append(f"flips {hop['bit_error_rate']:.2g} of all bits")
    if hop.get("duplicate_ratio"):
        parts.append(f"copies {hop['duplicate_ratio'] * 100:.3g} % of packets")
    if (contacts := hop.get("contacts_s")) is not None:
        times = "once" if len(contacts) == 1 else f"{len(contacts)} times"
        longest = max(end - start for start, end in contacts)
        parts.append(f"there {times}, for {duration(longest)} at most, as its nodes know")
    if hop.get("retransmit"):
        parts.append(_repeat_words(hop["retransmit"]))
    outage = hop.get("outage")
    if outage:
        then = "packets wait meanwhile" if outage["hold"] else "packets are lost meanwhile"
        if outage.get("up_s"):
            chance = "on average " if outage["random"] else ""
            up, down = duration(outage["up_s"]), duration(outage["down_s"])
            parts.append(f"{chance}up for {up} and down for {down} in turn ({then})")
        else:
            spans = [f"{duration(start)} to {duration(end)}" for start, end in outage["windows_s"]]
            parts.append(f"down from {', '.join(spans)} ({then})")
    return parts


def _repeat_words(retransmit: Mapping[str, Any]) -> str:
    """Return how a hop repairs its own losses."""
    if "tries" in retransmit:
        return f"sends again what it lost, {retransmit['tries']} tries at most"
    return "sends what is red until it is across, by LTP"


def return_words(link: Mapping[str, Any]) -> str:
    """Return what the way back of *link* is like."""
    back = link.get("return")
    if back is None:
        return "none: the link is one-way, so the receiver can neither ask nor confirm"
    out = sum(hop.get("delay_s", 0.0) for hop in link["hops"])
    delay_s = back["delay_s"] if back.get("delay_s") is not None else out
    unused = "" if link["repair"]["arq"] else " (not used: nothing is asked for)"
    return ", ".join([rate(back["rate_bps"]), *_troubles(back, delay_s)]) + unused


def repair_words(link: Mapping[str, Any], traffic: Traffic) -> str:
    """Return what *link* does about losses, and what that cost in *traffic*."""
    repair = link["repair"]
    payload = sum(traffic.cost.payload.values())
    parts = []
    if repair["fec"]:
        spent = _spent(traffic.fec_bytes, payload)
        parts.append(f"repair packets sent in advance, to make up for lost ones ({spent})")
    if repair["arq"]:
        times = "once" if repair["arq_rounds"] == 1 else f"up to {repair['arq_rounds']} times"
        spent = _spent(traffic.cost.repair, payload)
        parts.append(f"what is missing is asked for {times} and sent again ({spent})")
        if repair.get("show_early"):  # not in journals of earlier versions
            parts.append("a picture with holes is shown meanwhile")
    if repair["priorities"]:
        parts.append("what matters most goes first")
    return "; ".join(parts) or "none: what is lost is lost"


def _spent(count: int, payload: int) -> str:
    """Return what *count* bytes are beside the payload, from what was really on the air."""
    return size(count) + (f", {percent(count / payload)} of the payload" if payload else "")
