"""A run's packets as a capture file, as a receiver beside the first transmitters would have recorded it.

Classic pcap with nanosecond time stamps, link type USER0 (147): record by record the bytes that went on the
air, at the time when their transmission began, so the lengths add up to the report's `bytes.on_air`. Run time
0 is 1970-01-01. With `ccsds` framing tshark and Wireshark dissect it once USER0 is mapped (tried with 4.0):

    tshark -r run.pcap -o 'uat:user_dlts:"User 0 (DLT=147)","ccsds","0","","0",""' \\
           -T fields -e ccsds.apid -e ccsds.seqnum -e ccsds.length -e frame.len

With `bp` framing they do by themselves: the link type is WIRESHARK_UPPER_PDU (252), which has 12 bytes before each
record that name the dissector.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from link import packet
from link.channel import NS
from link.events import RADIATED, Fate
from link.journal import Run
from scenarios.results import traffic
from scenarios.results.hop_packets import BY_HOPS, split_segment
from scenarios.results.table import replacing

MAGIC = 0xA1B23C4D
"""Classic pcap with nanoseconds (IETF draft-ietf-opsawg-pcap)."""
LINK_TYPE = 147
"""LINKTYPE_USER0: compact packets have no link type of their own, nor have bare Space Packets."""
NAMED_LINK_TYPE = 252
"""LINKTYPE_WIRESHARK_UPPER_PDU: before each record stands the name of what dissects it."""
SNAP_BYTES = 65535 + 6  # the longest packet in a Space Packet
NAMED_SNAP_BYTES = 65535 + 12
_VERSION = (2, 4)


def on_air(run: Run) -> list[tuple[int, int, bytes]]:
    """Return (start of transmission in ns, number, bytes) of each packet that left a first transmitter, in order.

    What hops sent by themselves to repair their losses is among them, at the time when the journal has it begun. Where
    the first hop speaks LTP its segments are there in place of the packets in them; of segments of hops further on
    there is what they add, their headers.
    """
    rows, firsts = run.rows, traffic.first_hops(traffic.scenario(run))
    # Of a packet's rows at its first hop, the one that it left the transmitter with alone tells of waiting.
    first = rows[np.isin(rows[:, 3], [-1, *firsts]) & (rows[:, 4] > 0)]
    waited = dict(zip(first[:, 1].tolist(), first[:, 4].tolist(), strict=True))
    begun = rows[np.isin(rows[:, 2], BY_HOPS)][:, :4].tolist()
    speak = {hop for _, _, fate, hop in begun if fate == Fate.SEGMENT} & set(firsts)
    sent = traffic.packets(run)
    aired = rows[np.isin(rows[:, 3], firsts) & np.isin(rows[:, 2], RADIATED)]
    # Where a sender's packets pass by another's node, its hop is their second: what counts is where each left first.
    numbers, at = np.unique(aired[:, 1], return_index=True)
    left = dict(zip(numbers.tolist(), aired[at, 3].tolist(), strict=True))
    within = {item.number for item in sent if item.on_air and left.get(item.number) in speak}
    whole = {run.data[number] for number in within}
    found = [
        (item.sent_ns + waited.get(item.number, 0), item.number, run.data[item.number])
        for item in sent
        if item.on_air and item.number not in within
    ]
    for time, number, fate, hop in begun:
        data = run.data[number]
        header, inner = split_segment(data) if fate == Fate.SEGMENT else (b"", data)
        if hop not in speak or inner not in whole:
            found.append((time, number, header if fate == Fate.SEGMENT else data))
        elif fate != Fate.REPEATED:
            found.append((time, number, data))
    return sorted(found, key=lambda record: record[:2])


def export(run: Run, path: Path) -> tuple[int, int]:
    """Write the packets that went on the air to *path*, whole or not at all; return (packets, their bytes).

    Raise StorageError where it cannot be written.
    """
    framing = traffic.scenario(run)["link"]["framing"]
    packets = [(start, data) for start, _, data in on_air(run)]
    write(path, packets, _dissector if framing == "bp" else None)
    return len(packets), sum(len(data) for _, data in packets)


def write(
    path: Path, packets: Iterable[tuple[int, bytes]], dissector: Callable[[bytes], str] | None = None
) -> None:
    """Write *packets*, (time in ns, bytes), to *path*; *dissector* names what Wireshark shall read each with.

    Raise StorageError where it cannot be written.
    """
    with replacing(path) as fresh, fresh.open("wb") as file:
        file.write(_file_header(named=dissector is not None))
        for start, data in packets:
            named = b"" if dissector is None else _tags(dissector(data).encode())
            file.write(_record_header(start, len(named) + len(data)) + named + data)


def _tags(name: bytes) -> bytes:
    """Return what names the dissector of a record (Wireshark, epan/exported_pdu.h): a name, and an end of tags."""
    name += bytes(-len(name) % 4)
    return b"\0\x0c" + len(name).to_bytes(2, "big") + name + bytes(4)


def _dissector(data: bytes) -> str:
    try:
        packet.unwrap(data, "bp")
    except packet.PacketError:  # what hops send by themselves is no bundle
        return "data"
    return "bpv7"


def _file_header(*, named: bool) -> bytes:
    snap_bytes, link_type = (NAMED_SNAP_BYTES, NAMED_LINK_TYPE) if named else (SNAP_BYTES, LINK_TYPE)
    version = b"".join(part.to_bytes(2, "big") for part in _VERSION)
    return _u32(MAGIC) + version + bytes(8) + _u32(snap_bytes) + _u32(link_type)


def _record_header(start_ns: int, size_bytes: int) -> bytes:
    seconds, nanoseconds = divmod(start_ns, NS)
    return _u32(seconds) + _u32(nanoseconds) + _u32(size_bytes) * 2


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")
