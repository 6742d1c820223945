"""What a PDF does besides showing its pages: programs, files inside it, reaching for other places (SEC-12).

It is read by pikepdf, whose parser, qpdf, is fuzzed all year round, in a process of its own with bounds: a
few bytes of a hostile file can unfold to gigabytes. This module is that process: a PDF on its standard input,
one of the words below on its output, nothing where the bounds were too narrow. The bytes are kept as they
came; written anew, a signed document would lose its signature.
"""

import io
import sys

import pikepdf
from pikepdf import Dictionary, Stream

from jingwei.kit.limits import limit

FINE, ACTIVE, LOCKED, DAMAGED = "fine", "active", "locked", "damaged"
_MEMORY = 1 << 30
_SECONDS = 10

# ISO 32000-2, 12.6: what runs, plays, sends, or opens something that is not this document. What merely moves
# about in it stays, and so do links to web pages, which a person follows.
_ACTIONS = {
    *("/JavaScript", "/Launch", "/SubmitForm", "/ImportData", "/GoToR", "/GoToE", "/GoTo3DView"),
    *("/Rendition", "/RichMediaExecute", "/Movie", "/Sound"),
}
_PLAYERS = {"/FileAttachment", "/RichMedia", "/Screen", "/Movie", "/Sound", "/3D"}  # kinds of annotation


def judge(data: bytes) -> str:
    """FINE, ACTIVE, LOCKED by a password, or DAMAGED."""
    try:
        with pikepdf.open(io.BytesIO(data)) as pdf:
            if _begins_something(pdf.Root) or any(map(_acts, _containers(pdf))):
                return ACTIVE
            # Of what it had to guess, or had no memory for, another program could make something else.
            return DAMAGED if pdf.get_warnings() else FINE
    except pikepdf.PasswordError:
        return LOCKED
    except pikepdf.PdfError:
        return DAMAGED


def _begins_something(root) -> bool:
    """Whether opening the document does more than turning to a page, or it names programs or files."""
    opening, names, form = (root.get(key) for key in ("/OpenAction", "/Names", "/AcroForm"))
    return (
        (isinstance(opening, Dictionary) and opening.get("/S") != "/GoTo")
        or (isinstance(names, Dictionary) and ("/JavaScript" in names or "/EmbeddedFiles" in names))
        or (isinstance(form, Dictionary) and "/XFA" in form)
    )


def _containers(pdf):
    """All dictionaries, wherever they stand: what no page leads to may still be called by something."""
    for found in pdf.objects:
        within = [found]
        while within:
            part = within.pop()
            if isinstance(part, Dictionary | Stream):
                yield part
                values = part.values() if isinstance(part, Dictionary) else part.stream_dict.values()
            elif isinstance(part, pikepdf.Array):
                values = part
            else:
                continue
            within += [v for v in values if isinstance(v, pikepdf.Object) and not v.is_indirect]


def _acts(part) -> bool:
    files, triggers = part.get("/EF"), part.get("/AA")
    return (
        part.get("/S") in _ACTIONS
        or part.get("/Subtype") in _PLAYERS
        or part.get("/Type") == "/EmbeddedFile"
        or (isinstance(files, Dictionary) and any(isinstance(file, Stream) for file in files.values()))
        or (isinstance(triggers, Dictionary) and any("/S" in action for action in triggers.values()))
    )


if __name__ == "__main__":
    limit(_MEMORY, _SECONDS)
    print(judge(sys.stdin.buffer.read()), end="")
