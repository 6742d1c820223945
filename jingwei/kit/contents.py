"""What a stranger's file really is, and a form of it that is safe to hand on (P-5.6, SEC-12).

A file is judged by its bytes; its name and what the browser says of it count for nothing. Pictures are
decoded and written anew, so that nothing hides in them and nobody learns where they were taken. Documents
are kept as they came, if they are what they seem and bring no program along.
"""

import io
import re
import struct
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import datetime
from xml.parsers import expat

from PIL import ExifTags, Image, ImageOps

from jingwei.kit.text import without_unseen

SMALL, LARGE = 320, 1600  # pixels of the longer side of the two reduced pictures
_QUALITY = 88
_QUALITY_REDUCED = 80
_MOST_SCANS = 500  # of a JPEG, each of which goes over all pixels: real ones have ten
_MOST_ENTRIES = 10_000  # of a document that is a zip
_MOST_UNPACKED = 512 << 20
_MOST_TABLE = 4 << 20  # bytes of its table of contents, or of one of its tables of links
_MOST_EMBEDDED = 60 << 20  # bytes of a document within it
_END = 22  # bytes of the last record of a zip, when no comment follows
_NAME = 120  # characters
_DEVICES = re.compile(r"(?i)^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?=$|\.)")  # which Windows opens as such

# The form in which a picture of each kind is written: Pillow's name, extension, media type. Of one that moves
# the first picture stays.
_WRITTEN = {
    "JPEG": ("JPEG", "jpg", "image/jpeg"),
    "MPO": ("JPEG", "jpg", "image/jpeg"),  # a JPEG with a second one behind, as some telephones make
    "PNG": ("PNG", "png", "image/png"),
    "WEBP": ("WEBP", "webp", "image/webp"),
    "GIF": ("PNG", "png", "image/png"),
}
_OOXML = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS = {  # by the part that makes it one
    "word/document.xml": ("docx", f"{_OOXML}.wordprocessingml.document"),
    "xl/workbook.xml": ("xlsx", f"{_OOXML}.spreadsheetml.sheet"),
}
_PROGRAMS = re.compile(
    r"vbaproject|vbadata|activex|macrosheets|\.(?:exe|dll|com|scr|js|jse|vbs|vbe|wsf|hta|bat|cmd|ps1|lnk|jar|ole)$"
    r"|embeddings/.*\.bin$"
)
_PROGRAM_TYPES = re.compile(r"macroenabled|vbaproject|activex|oleobject", re.IGNORECASE)

WELCOME = "可以上传的是图片（JPG、PNG、WebP、GIF）、PDF、Word（.docx）和 Excel（.xlsx）文件"
_BEGINNINGS = [  # of what people try
    (b"\xd0\xcf\x11\xe0", "这是旧版 Office 文件，可能带宏；请另存为 .docx 或 .xlsx 后再上传"),
    (b"MZ", f"不能上传程序文件；{WELCOME}"),
    (b"\x7fELF", f"不能上传程序文件；{WELCOME}"),
    (b"BM", "这种图片格式（BMP）不支持，请另存为 JPG 或 PNG 后再上传"),
    (b"II*\0", "这种图片格式（TIFF）不支持，请另存为 JPG 或 PNG 后再上传"),
    (b"MM\0*", "这种图片格式（TIFF）不支持，请另存为 JPG 或 PNG 后再上传"),
    (b"Rar!", f"不能上传压缩包，请逐个上传里面的文件；{WELCOME}"),
    (b"7z\xbc\xaf", f"不能上传压缩包，请逐个上传里面的文件；{WELCOME}"),
]


class Refused(ValueError):
    """The file is not taken; the message says in Chinese why and what to do."""


@dataclass(frozen=True)
class Content:
    """A file as it is kept.

    `extension` and `media_type` follow from the bytes. Of a picture `size` is (width, height) as it is looked
    at, `small` and `large` are reduced ones as WebP, and `shot` tells the shooting data left in `data`.
    """

    data: bytes
    extension: str
    media_type: str
    size: tuple[int, int] | None = None
    small: bytes = b""
    large: bytes = b""
    shot: str = ""


def judge(data: bytes, *, most_pixels: int, keep_shot: bool = False) -> Content:
    """The content to keep of a file, or Refused.

    `most_pixels` bounds a picture before it is decoded. With `keep_shot` time, device and position stay in a
    picture and are told; nothing else of what a camera writes ever does.
    """
    if not data:
        raise Refused("文件是空的")
    if data.startswith(b"%PDF-"):
        return _pdf(data)
    if data.startswith(b"PK\x03\x04"):
        return _office(data)
    picture = _opened(data)
    if picture is not None:
        return _picture(picture, data, most_pixels, keep_shot)
    for beginning, reason in _BEGINNINGS:
        if data.startswith(beginning):
            raise Refused(reason)
    head = data[:1024].lower()
    if re.search(rb"<svg|<html|<!doctype|<script|<\?xml|<\?php", head):
        raise Refused(f"网页和矢量图（HTML、SVG、XML）可能带脚本，不能上传；{WELCOME}")
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        raise Refused("这种图片格式（HEIC）不支持，请在手机相机设置中选“兼容性最佳”，或另存为 JPG 后再上传")
    if data[4:8] == b"ftyp":
        raise Refused("视频文件请先传到视频平台，再在这里添加视频链接")
    raise Refused(f"不认识这种文件；{WELCOME}")


# --- pictures ---------------------------------------------------------------------------------------------


def _opened(data):
    """The picture, not decoded yet; None if it is none of ours."""
    try:
        return Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP", "GIF"])
    except Image.DecompressionBombError:
        raise Refused("图片的像素太多，请缩小后再上传") from None
    except Exception:  # a decoder that a stranger's bytes have misled may raise anything
        return None


def _picture(picture, data, most_pixels, keep_shot):
    width, height = picture.size
    if width * height > most_pixels:
        raise Refused(
            f"图片有 {width}×{height} 像素，超过上限 {most_pixels / 1_000_000:g} 百万像素；请缩小后再上传"
        )
    if picture.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MOST_SCANS:
        raise Refused("图片的编码不正常，请重新拍摄或另存后再上传")
    written, extension, media_type = _WRITTEN[picture.format]
    try:
        exif, shot = _shooting(picture) if keep_shot else (b"", "")
        whole = ImageOps.exif_transpose(picture)
        if whole.mode == "I;16":  # of which Pillow would turn all but the darkest to white
            whole = whole.point(lambda level: level * (1 / 256))
        clear = whole.mode in ("RGBA", "LA", "PA") or "transparency" in whole.info
        mode = "RGBA" if clear and written != "JPEG" else "RGB"
        whole = whole if whole.mode == mode else whole.convert(mode)  # which would copy it, large as it is
        whole.info.clear()  # comments, profiles and whatever else would be written along
        large = _reduced(whole, LARGE)
        data = _encoded(whole, written, exif=exif, quality=_QUALITY)
        reduced = [_encoded(p, "WEBP", quality=_QUALITY_REDUCED) for p in (_reduced(large, SMALL), large)]
    except Exception as error:  # as above
        raise Refused("图片已损坏或不完整，请重新拍摄或另存后再上传") from error
    return Content(data, extension, media_type, whole.size, *reduced, shot)


def _reduced(picture, side):
    factor = side / max(picture.size)
    if factor >= 1:
        return picture
    return picture.resize([max(1, round(length * factor)) for length in picture.size], reducing_gap=2)


def _encoded(picture, form, **options):
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


_BASE, _PLACE = ExifTags.Base, ExifTags.GPS
_DEVICE = (_BASE.Make, _BASE.Model)
_POSITION = (_PLACE.GPSLatitudeRef, _PLACE.GPSLatitude, _PLACE.GPSLongitudeRef, _PLACE.GPSLongitude)


def _shooting(picture):
    """(Exif with time, device and position alone, the same in words), empty where there is none of them."""
    old, new, told = picture.getexif(), Image.Exif(), []
    at = _text(old.get_ifd(ExifTags.IFD.Exif).get(_BASE.DateTimeOriginal))
    if re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", at):
        new.get_ifd(ExifTags.IFD.Exif)[_BASE.DateTimeOriginal] = at
        told.append(f"{datetime.strptime(at, '%Y:%m:%d %H:%M:%S'):%Y-%m-%d %H:%M}")
    device = [_text(old.get(tag)) for tag in _DEVICE]
    new.update({tag: value for tag, value in zip(_DEVICE, device, strict=True) if value})
    told += [" ".join(filter(None, device))] if any(device) else []
    place = old.get_ifd(ExifTags.IFD.GPSInfo)
    if all(tag in place for tag in _POSITION):
        north, latitude, east, longitude = (place[tag] for tag in _POSITION)
        new.get_ifd(ExifTags.IFD.GPSInfo).update({tag: place[tag] for tag in _POSITION})
        told.append(
            f"{'南纬' if north == 'S' else '北纬'}{_degrees(latitude):.5f}°，"
            f"{'西经' if east == 'W' else '东经'}{_degrees(longitude):.5f}°"
        )
    return new.tobytes() if told else b"", "，".join(told)


def _text(value):
    return "".join(c for c in str(value or "") if c.isprintable()).strip()[:60]


def _degrees(parts):
    degrees, minutes, seconds = map(float, parts)
    return degrees + minutes / 60 + seconds / 3600


# --- documents --------------------------------------------------------------------------------------------


_ANEW = "请打开它，选“打印”并打印为 PDF，再上传"
_PDF = {  # by the words of `kit.pdfs`
    "active": f"PDF 里有脚本、嵌入的文件、动态表单或自动执行的动作，不能上传；{_ANEW}",
    "locked": "PDF 有密码保护，请去掉密码后再上传",
    "damaged": f"PDF 文件不完整、已损坏或不合规范；{_ANEW}",
    "": f"PDF 展开后太大或太复杂，无法检查，不能上传；{_ANEW}",
}


def _pdf(data):
    # Behind a PDF or inside its first lines another kind of file can stand, for another program to find.
    if zipfile.is_zipfile(io.BytesIO(data)) or re.search(rb"<html|<script|<!doctype", data[:1024].lower()):
        raise Refused("这个 PDF 里夹带了另一种文件，不能上传；请重新生成后再上传")
    looked = subprocess.run([sys.executable, "-m", "jingwei.kit.pdfs"], input=data, capture_output=True)
    if (said := looked.stdout.decode()) != "fine":
        raise Refused(_PDF[said])
    return Content(data, "pdf", "application/pdf")


def _office(data, *, embedded=False):
    damaged = "文件已损坏，请用 Word、Excel 或 WPS 重新保存后再上传"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if any(entry.flag_bits & 1 for entry in entries):
                raise Refused("文件有密码保护，请去掉密码后再上传")
            kinds = [kind for part, kind in _DOCUMENTS.items() if part in names]
            if len(kinds) != 1 or "[Content_Types].xml" not in names:
                raise Refused(f"不能上传压缩包，请逐个上传里面的文件；{WELCOME}")
            if len(entries) > _MOST_ENTRIES or sum(entry.file_size for entry in entries) > _MOST_UNPACKED:
                raise Refused(_TOO_LARGE)
            if any(name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) for name in names):
                raise Refused(damaged)
            types = [of.get("ContentType", "") for of in _table(archive, "[Content_Types].xml")]
            by_name = any(_PROGRAMS.search(name.lower()) for name in names)
            if by_name or any(map(_PROGRAM_TYPES.search, types)):
                raise Refused("文档带有宏或嵌入的程序，不能上传；请另存为不带宏的 .docx 或 .xlsx")
            for name in names:
                if "/embeddings/" in name.lower() and not name.endswith("/"):
                    _embedded(archive, name, embedded)
                elif name.lower().endswith(".rels") and any(map(_reaches_out, _table(archive, name))):
                    raise Refused(_REACHES_OUT)
            if any("/externallinks/" in name.lower() for name in names):
                raise Refused(_REACHES_OUT)
            # Nothing stands before or behind what the archive tells of itself.
            size, start = struct.unpack("<II", data[-10:-2])
            if min(entry.header_offset for entry in entries) or start + size + _END != len(data):
                raise Refused("文件里夹带了别的内容，不能上传；请用 Word、Excel 或 WPS 重新保存后再上传")
            if archive.testzip():
                raise Refused(damaged)
    except Refused:
        raise
    except Exception as error:  # as above
        raise Refused(damaged) from error
    [(extension, media_type)] = kinds
    return Content(data, extension, media_type)


_TOO_LARGE = "文件展开后太大，不像正常的文档，不能上传"
_REACHES_OUT = (
    "文档会从别处读取内容（外部模板、链接的图片或别的工作簿），不能上传；"
    "请断开链接（Excel：“数据”“编辑链接”“断开链接”），或打印为 PDF 再上传"
)


def _embedded(archive, name, already):
    """Refuse what stands in a document, as the numbers of a chart do, unless it could be uploaded itself."""
    if archive.getinfo(name).file_size > _MOST_EMBEDDED:
        raise Refused(_TOO_LARGE)
    try:
        if already:
            raise Refused("")
        _office(archive.read(name), embedded=True)
    except Refused:
        raise Refused("文档里嵌有不能上传的文件，请删去嵌入的对象，或打印为 PDF 再上传") from None


def _reaches_out(link):
    """Whether a program that opens the document follows the link by itself, or takes in a foreign text."""
    kind = link.get("Type", "").rpartition("/")[2]
    return kind == "aFChunk" or (link.get("TargetMode", "").lower() == "external" and kind != "hyperlink")


def _table(archive, name):
    """The attributes of every element of a part; whatever its encoding, and without a DTD."""
    found, parser = [], expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: found.append(attributes)
    parser.StartDoctypeDeclHandler = _no_dtd
    with archive.open(name) as part:
        table = part.read(_MOST_TABLE + 1)
    if len(table) > _MOST_TABLE:
        raise Refused(_TOO_LARGE)
    parser.Parse(table, True)
    return found


def _no_dtd(*declared):
    raise Refused("文件里有不该有的内容（DTD），不能上传；请用 Word、Excel 或 WPS 重新保存后再上传")


# --- names ------------------------------------------------------------------------------------------------


def clean_name(name: str, extension: str) -> str:
    """A stranger's file name as it may be shown and written: no path, nothing invisible, our extension."""
    stem = re.split(r"[/\\]", name)[-1].rpartition(".")[0] or re.split(r"[/\\]", name)[-1]
    stem = re.sub(r"[\t\n\r]", "", without_unseen(stem))
    stem = re.sub(r'[<>:"|?*]', "_", stem).strip(" .")[:_NAME].rstrip(" .")
    stem = re.sub(_DEVICES, r"_\g<0>", stem)
    return f"{stem or '附件'}.{extension}"
