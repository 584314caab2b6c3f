"""What each codec sends: the syntax that both ends share. One table, no registration by import."""

from link.codecs import classical, gsc
from link.codecs.syntax import PayloadSyntax

SYNTAXES: dict[str, PayloadSyntax] = {
    "gsc": gsc.GscSyntax(),
    **{name: classical.syntax(name) for name in classical.NAMES},
}
