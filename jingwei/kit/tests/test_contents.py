"""What strangers' files are taken for, and what is left of them."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pikepdf
import pytest
from pikepdf import Array, AttachedFileSpec, Dictionary, Encryption, Name
from PIL import ExifTags, Image
from xlsxwriter import Workbook

from jingwei.kit.contents import Refused, clean_name, judge

BOUND = 50_000_000
TIME = "2026:11:20 09:30:00"


def image(form="JPEG", mode="RGB", size=(640, 480), quick=False, **options):
    """A picture of noise, or one that takes less time and bytes."""
    content = io.BytesIO()
    made = Image.radial_gradient("L").resize(size) if quick else Image.effect_noise(size, 60)
    made.convert(mode).save(content, form, **options)
    return content.getvalue()


def photograph(orientation=6):
    """As a telephone takes it: on its side, with time, device, position, serial number, a comment."""
    exif = Image.Exif()
    exif.update({ExifTags.Base.Make: "Huawei", ExifTags.Base.Model: "P50", ExifTags.Base.Artist: "林样例"})
    exif[ExifTags.Base.Orientation] = orientation
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner.update({ExifTags.Base.DateTimeOriginal: TIME, ExifTags.Base.BodySerialNumber: "SN73510264"})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {1: "N", 2: (25.0, 58.0, 30.0), 3: "E", 4: (119.0, 7.0, 12.0), 29: "2026:11:20"}
    )
    return image(exif=exif, comment=b"hidden words")


def archive(**parts):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, part in parts.items():
            zipped.writestr(name.replace("__", "/"), part)
    return content.getvalue()


def document(types="<Types/>", **more):
    more = {f"{name}.rels" if "_rels__" in name else name: part for name, part in more.items()}
    return archive(**{"[Content_Types].xml": types, "word__document.xml": "<w/>", **more})


def rels(kind, target, mode="External", encoding="utf-8"):
    """A table of links of a document's part."""
    link = f'<Relationship Id="r" Type="http://example/{kind}" Target="{target}" TargetMode="{mode}"/>'
    return f'<?xml version="1.0" encoding="{encoding}"?><Relationships>{link}</Relationships>'.encode(
        encoding
    )


def workbook():
    content = io.BytesIO()
    with Workbook(content, {"in_memory": True}) as book:
        book.add_worksheet().write(0, 0, "整改情况")
    return content.getvalue()


def pdf(change=lambda made: None, **save):
    """A PDF of one page, changed before it is written."""
    content = io.BytesIO()
    with pikepdf.new() as made:
        made.add_blank_page()
        change(made)
        made.save(content, static_id=True, **save)
    return content.getvalue()


def opening(**action):
    """A PDF that does this when it is opened."""
    return pdf(
        lambda made: made.Root.update({"/OpenAction": made.make_indirect(Dictionary(**action))}), **PACKED
    )


def linked(action):
    """A PDF with something to click on."""
    link = Dictionary(Type=Name.Annot, Subtype=Name.Link, Rect=[0, 0, 9, 9], A=action)
    return pdf(lambda made: made.pages[0].obj.update({"/Annots": Array([link])}))


def with_a_file(made):
    made.attachments["a.exe"] = AttachedFileSpec(made, b"MZ", filename="a.exe")


def with_a_form(made):
    made.Root.AcroForm = Dictionary(Fields=[], XFA=made.make_stream(b"<xdp/>"))


def with_an_event(made):
    made.pages[0].obj.AA = Dictionary(O=Dictionary(S=Name.URI, URI="https://example.com"))


def unfolding(times):
    """A PDF whose script stands in a stream of objects with so many MB of spaces behind it."""
    press = zlib.compressobj(9)
    packed = press.compress(b"5 0 6 30 <</S/JavaScript/JS(a)>>       null" + b" " * (1 << 20))
    packed += press.flush(zlib.Z_FULL_FLUSH)
    packed += (press.compress(b" " * (1 << 20)) + press.flush(zlib.Z_FULL_FLUSH)) * times
    bodies = [
        b"<</Type/Catalog/Pages 2 0 R/OpenAction 5 0 R>>",
        b"<</Type/Pages/Kids[]/Count 0>>",
        b"null",
        b"<</Type/ObjStm/N 2/First 9/Filter/FlateDecode/Length %d>>stream\n%b\nendstream"
        % (len(packed), packed),
    ]
    content, table = b"%PDF-1.7\n", struct.pack(">BIH", 0, 0, 65535)
    for number, body in enumerate(bodies, start=1):
        table += struct.pack(">BIH", 1, len(content), 0)
        content += b"%d 0 obj%b endobj\n" % (number, body)
    table += struct.pack(">BIHBIH", 2, 4, 0, 2, 4, 1)
    head = b"7 0 obj<</Type/XRef/Size 7/W[1 4 2]/Root 1 0 R/Length %d>>stream\n" % len(table)
    end = b"\nendstream endobj\nstartxref\n%d\n%%%%EOF" % len(content)
    return content + head + table + end


PACKED = {"object_stream_mode": pikepdf.ObjectStreamMode.generate}
WEB = Dictionary(S=Name.URI, URI="https://example.com/JavaScript")
PDF = pdf()


def enormous(width, height):
    """A PNG of few bytes that says it has so many pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


# --- pictures ---------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.6")
@pytest.mark.parametrize(
    ("form", "mode", "extension"),
    [
        ("JPEG", "RGB", "jpg"),
        ("JPEG", "CMYK", "jpg"),
        ("PNG", "RGBA", "png"),
        ("PNG", "L", "png"),
        ("PNG", "1", "png"),
        ("WEBP", "RGB", "webp"),
        ("GIF", "P", "png"),
    ],
)
def test_a_picture_is_written_anew_with_two_reduced_ones(form, mode, extension):
    content = judge(image(form, mode, (2000, 1000), quick=True), most_pixels=BOUND)
    assert (content.extension, content.size) == (extension, (2000, 1000))
    with Image.open(io.BytesIO(content.data)) as written:
        assert written.size == (2000, 1000) and f"image/{written.format.lower()}" == content.media_type
    for reduced, size in ((content.small, (320, 160)), (content.large, (1600, 800))):
        with Image.open(io.BytesIO(reduced)) as picture:
            assert (picture.format, picture.size) == ("WEBP", size)


@pytest.mark.req("P-5.6", "P-4.1")
def test_of_a_photograph_nothing_but_the_picture_stays_and_it_stands_upright():
    content = judge(photograph(), most_pixels=BOUND)
    assert content.size == (480, 640)
    for part in (content.data, content.small, content.large):
        with Image.open(io.BytesIO(part)) as picture:
            assert not picture.getexif() and not {"exif", "comment", "icc_profile", "xmp"} & set(picture.info)
        words = (b"Exif", b"Huawei", b"SN73510264", b"hidden", TIME.encode(), "林样例".encode())
        assert not [word for word in words if word in part]
    assert content.shot == ""


@pytest.mark.req("P-5.6")
def test_time_device_and_position_stay_when_asked_for_and_nothing_else():
    content = judge(photograph(), most_pixels=BOUND, keep_shot=True)
    assert content.shot == "2026-11-20 09:30，Huawei P50，北纬25.97500°，东经119.12000°"
    with Image.open(io.BytesIO(content.data)) as picture:
        exif = picture.getexif()
        assert set(exif) == {ExifTags.Base.Make, ExifTags.Base.Model, *(int(i) for i in (0x8769, 0x8825))}
        assert dict(exif.get_ifd(ExifTags.IFD.Exif)) == {ExifTags.Base.DateTimeOriginal: TIME}
        assert set(exif.get_ifd(ExifTags.IFD.GPSInfo)) == {1, 2, 3, 4}
    for part in (content.small, content.large, content.data):
        assert b"SN73510264" not in part and b"hidden" not in part


@pytest.mark.req("P-5.6", "SEC-12")
@pytest.mark.parametrize(
    "behind", [b"PK\x05\x06" + bytes(18), b"<script>alert(1)</script>", workbook()], ids=["zip", "js", "xlsx"]
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP"])
def test_what_hides_behind_a_picture_is_gone(form, behind):
    content = judge(image(form) + behind, most_pixels=BOUND)
    assert behind not in content.data and not zipfile.is_zipfile(io.BytesIO(content.data))


# --- documents --------------------------------------------------------------------------------------------


@pytest.mark.req("P-5.6")
@pytest.mark.parametrize(
    ("data", "extension"),
    [
        (PDF, "pdf"),
        (pdf(**PACKED), "pdf"),
        (linked(WEB), "pdf"),
        (opening(S=Name.GoTo, D=[0, Name.Fit]), "pdf"),
        (pdf(encryption=Encryption(user="", owner="b")), "pdf"),  # may be read, but not be changed
        (document(), "docx"),
        (document(word___rels__document=rels("hyperlink", "https://example.com")), "docx"),
        (document(**{"word__embeddings__a.xlsx": workbook()}), "docx"),
        (workbook(), "xlsx"),
    ],
    ids=["plain", "packed", "link", "turns to a page", "restricted", "docx", "link in docx", "chart", "xlsx"],
)
def test_a_document_is_kept_as_it_came(data, extension):
    content = judge(data, most_pixels=BOUND)
    assert (content.data, content.extension, content.size) == (data, extension, None)


# --- what is refused --------------------------------------------------------------------------------------

LAUGHS = (
    "<!DOCTYPE a [" + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 9}">' for n in range(9)) + "]><a>&a8;</a>"
)
ELSEWHERE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
MANY_MACROS = '<Types><Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/></Types>'
REFUSED = {
    "empty": (b"", "空的"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "脚本"),
    "svg behind xml": (b'<?xml version="1.0"?><svg/>', "脚本"),
    "html as jpg": (b"<!DOCTYPE html><script>alert(1)</script>", "脚本"),
    "php": (b"<?php system($_GET['c']); ?>", "脚本"),
    "gif that is a script": (b"GIF89a/*" + b"\0" * 40 + b"*/=1;alert(1)//", "不认识"),
    "program": (b"MZ\x90\0" + bytes(60), "程序"),
    "elf": (b"\x7fELF" + bytes(60), "程序"),
    "old word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "旧版 Office"),
    "mp4": (b"\0\0\0\x18ftypmp42" + bytes(100), "视频链接"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
    "bmp": (b"BM" + bytes(60), "BMP"),
    "text": ("安全情况说明".encode(), "不认识"),
    "rar": (b"Rar!\x1a\x07\0" + bytes(60), "压缩包"),
    "plain zip": (archive(a="b"), "压缩包"),
    "jpeg of many passes": (image().replace(b"\xff\xda", 600 * b"\xff\xda", 1), "编码不正常"),
    "50000x50000": (enormous(50_000, 50_000), "像素"),
    "truncated jpeg": (image()[:-9000], "损坏"),
    "truncated png": (image("PNG")[:-9000], "损坏"),
    "20000x20000": (enormous(20000, 20000), "像素"),
    "9000x9000": (enormous(9000, 9000), "9000×9000"),
    "png without pixels": (enormous(100, 100), "损坏"),
    "truncated pdf": (PDF[: len(PDF) // 2], "不完整"),
    "pdf of nothing": (b"%PDF-1.7\n%%EOF", "不完整"),
    "pdf with script": (opening(S=Name.JavaScript, JS="app.alert(1)"), "脚本"),
    "pdf with a name spelt": (
        linked(Dictionary(S=Name.JavaScript, JS="1")).replace(b"/JavaScript", b"/#4aavaScript"),
        "脚本",
    ),
    "pdf that opens a page": (opening(S=Name.URI, URI="https://example.com"), "自动"),
    "pdf that prints itself": (opening(S=Name.Named, N=Name.Print), "自动"),
    "pdf that launches": (
        linked(Dictionary(S=Name.GoTo, Next=[Dictionary(S=Name.Launch, F="a.exe")])),
        "动作",
    ),
    "pdf that sends": (linked(Dictionary(S=Name.SubmitForm, F="https://example.com")), "动作"),
    "pdf that opens another": (linked(Dictionary(S=Name.GoToR, F="//host/share")), "动作"),
    "pdf with a file": (pdf(with_a_file), "嵌入"),
    "pdf with a form": (pdf(with_a_form), "动态表单"),
    "pdf with an event": (pdf(with_an_event), "自动"),
    "pdf with a password": (pdf(encryption=Encryption(user="a", owner="b")), "密码"),
    "pdf full of things": (
        b"%PDF-1.7\n1 0 obj<</X[" + b"<<>>" * 10**5 + b"]>>endobj\n%%EOF",
        "不合规范|复杂",
    ),
    "pdf and zip": (PDF + archive(a="b") + b"%%EOF", "夹带"),
    "pdf and html": (PDF[:9] + b"<html><script>alert(1)</script>" + PDF, "夹带"),
    "macros by name": (document(word__vbaProject="x"), "宏"),
    "macros by type": (document(MANY_MACROS), "宏"),
    "script inside": (document(**{"word__a.js": "x"}), "程序"),
    "ole inside": (document(**{"word__embeddings__oleObject1.bin": "x"}), "程序"),
    "dangerous type in another encoding": (document(MANY_MACROS.encode("utf-16")), "宏"),
    "template elsewhere": (document(word___rels__a=rels("attachedTemplate", "//host/a.dotm")), "外部模板"),
    "picture elsewhere": (document(word___rels__a=rels("image", "https://example.com/a.png")), "外部模板"),
    "foreign text": (document(word___rels__a=rels("aFChunk", "a.html", "Internal")), "外部模板"),
    "links in another encoding": (
        document(word___rels__a=rels("frame", "//h/a", encoding="utf-16")),
        "外部模板",
    ),
    "another workbook": (document(**{"xl__externalLinks__externalLink1.xml": "x"}), "别的工作簿"),
    "zip inside": (document(word__embeddings__a=archive(a="b")), "嵌有"),
    "document in document in document": (
        document(word__embeddings__a=document(word__embeddings__a=document())),
        "嵌有",
    ),
    "laughs": (document(LAUGHS), "DTD"),
    "entity elsewhere": (document(word___rels__a=ELSEWHERE), "DTD"),
    "path traversal": (document(**{"..__..__etc__passwd": "x"}), "损坏"),
    "both word and excel": (document(xl__workbook="x", **{"xl__workbook.xml": "x"}), "压缩包"),
    "script before zip": (b"#!/bin/sh\n" + document(), "不认识"),
    "words behind zip": (document() + b"<script>", "夹带|损坏"),
    "truncated docx": (document()[:-30], "损坏"),
    "flipped bit": (workbook()[:200] + b"\xff\xff" + workbook()[202:], "损坏"),
}


@pytest.mark.req("P-5.6", "SEC-12")
@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_not_what_it_should_be_is_refused_in_words(data, reason):
    with pytest.raises(Refused, match=reason):
        judge(data, most_pixels=BOUND)


@pytest.mark.req("P-5.6", "SEC-12")
@pytest.mark.parametrize(("times", "reason"), [(1, "脚本"), (1100, "不合规范")])
def test_a_pdf_that_no_memory_holds_hides_nothing(times, reason):
    with pytest.raises(Refused, match=reason):
        judge(unfolding(times), most_pixels=BOUND)


@pytest.mark.req("P-5.6")
def test_of_sixteen_bits_the_upper_ones_stay():
    content = io.BytesIO()
    Image.fromarray(np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)).save(content, "PNG")
    written = Image.open(io.BytesIO(judge(content.getvalue(), most_pixels=BOUND).data))
    assert [written.getpixel((0, y))[0] for y in (0, 16, 32, 48)] == pytest.approx([0, 64, 128, 192], abs=1)


@pytest.mark.req("P-5.6", "SEC-12")
def test_a_bomb_is_refused_before_it_unfolds(monkeypatch):
    """Of what it says of its sizes nothing is believed further than needed: nothing of it was read."""
    monkeypatch.setattr("jingwei.kit.contents._MOST_UNPACKED", 64 << 20)
    bomb = document(word__media__big="0" * (65 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args: pytest.fail("unpacked"))
    assert len(bomb) < 100_000
    with pytest.raises(Refused, match="太大"):
        judge(bomb, most_pixels=BOUND)


@pytest.mark.req("P-5.6", "SEC-12")
def test_names_are_shown_without_paths_and_without_what_cannot_be_seen():
    given = {
        "整改照片.JPG": "整改照片.jpg",
        "../../etc/passwd": "passwd.jpg",
        "C:\\Users\\x\\a.png": "a.jpg",
        "照\u202egnp.exe": "照gnp.jpg",
        "a\0b\r\nc.jpg": "abc.jpg",
        '"><script>.jpg': "___script_.jpg",
        "": "附件.jpg",
        "…/..": "附件.jpg",
        "𠮷田\U0002b740.pdf": "𠮷田\U0002b740.jpg",
        "x" * 500: "x" * 120 + ".jpg",
        "CON": "_CON.jpg",
        "nul.tar.png": "_nul.tar.jpg",
        "console.png": "console.jpg",
        f"{'x' * 119}. 样.jpg": f"{'x' * 119}.jpg",
        "林\U000e0100样\ue000例.pdf": "林\U000e0100样\ue000例.jpg",
    }
    assert {name: clean_name(name, "jpg") for name in given} == given
