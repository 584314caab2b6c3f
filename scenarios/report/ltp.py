"""What a segment of LTP says, for listings."""

from typing import Any

from link.repair.ltp_segments import CancelAck, CancelSegment, DataSegment, ReportAck, ReportSegment, parse


def describe(data: bytes) -> dict[str, Any]:
    """Return the fields of the segment that *data* is, `type` and `session` among them; nothing where it is none."""
    try:
        segment = parse(data)
    except ValueError:
        return {}
    more: dict[str, Any]
    match segment:
        case DataSegment():
            kind = segment.type.name.lower()
            more = {"offset": segment.offset, "length": len(segment.data), "checkpoint": segment.checkpoint}
        case ReportSegment():
            kind, claims = "report", [[first, end] for first, end in segment.claims]
            more = {"serial": segment.serial, "checkpoint": segment.checkpoint, "claims": claims}
            more |= {"lower": segment.lower, "upper": segment.upper}
        case ReportAck():
            kind, more = "report_ack", {"serial": segment.serial}
        case CancelSegment():
            kind, more = "cancel", {"by_sender": segment.by_sender, "reason": segment.reason}
        case CancelAck():
            kind, more = "cancel_ack", {"by_sender": segment.by_sender}
    return {"type": kind, "session": segment.session[1], **more}


def words(about: dict[str, Any]) -> list[str]:
    """Return what `describe` found, in words, part by part."""
    kind = about["type"].replace("_", " ")
    parts = [f"{kind} of session {about['session']}"]
    if "offset" in about:
        parts.append(f"bytes {about['offset']} to {about['offset'] + about['length']}")
    elif "claims" in about:
        have = sum(end - first for first, end in about["claims"])
        parts.append(f"{have} of bytes {about['lower']} to {about['upper']} there")
    return parts
