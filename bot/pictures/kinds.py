"""What a file is by its bytes, never by its name: text, formats that are not accepted, files that end early."""

from __future__ import annotations

import struct
from collections.abc import Callable

from engines.words import Words

_HEIC_HINT = Words(
    "On an iPhone, choose Settings → Camera → Formats → Most Compatible, or share it as JPEG.",
    "아이폰에서는 설정 → 카메라 → 포맷 → 높은 호환성을 고르거나 JPEG로 공유해 주십시오.",
)
_PAGE_HINT = Words(
    "Please export the page as a PNG first.", "먼저 해당 페이지를 PNG로 내보낸 뒤 보내 주십시오."
)
_FRAME_HINT = Words(
    "Please send one picture of it as PNG or JPEG.", "그중 한 장면을 PNG나 JPEG로 저장해서 보내 주십시오."
)
_UNPACK_HINT = Words("Please unpack it and send the pictures.", "압축을 풀어 사진을 보내 주십시오.")
_SAVE_HINT = Words("Please save it as PNG or JPEG.", "PNG나 JPEG로 저장해서 보내 주십시오.")


def _starts(*prefixes: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(prefixes)


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    """ISO base media files say what they are in bytes 8–12."""
    return lambda data: data[4:8] == b"ftyp" and data[8:12] in brands


# name, what to do, how to tell; the first that matches is named
UNSUPPORTED: tuple[tuple[str, Words, Callable[[bytes], bool]], ...] = (
    ("GIF", _FRAME_HINT, _starts(b"GIF87a", b"GIF89a")),
    ("HEIC", _HEIC_HINT, _brand(b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")),
    ("AVIF", _SAVE_HINT, _brand(b"avif", b"avis")),
    ("MP4/MOV", _FRAME_HINT, lambda data: data[4:8] == b"ftyp"),
    ("PDF", _PAGE_HINT, _starts(b"%PDF")),
    ("PSD", _SAVE_HINT, _starts(b"8BPS")),
    ("JPEG 2000", _SAVE_HINT, _starts(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    ("JPEG XL", _SAVE_HINT, _starts(b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    ("OpenEXR", _SAVE_HINT, _starts(b"\x76\x2f\x31\x01")),
    ("Radiance HDR", _SAVE_HINT, _starts(b"#?RADIANCE", b"#?RGBE")),
    ("ICO", _SAVE_HINT, _starts(b"\0\0\1\0")),
    ("DDS", _SAVE_HINT, _starts(b"DDS ")),
    ("DICOM", _SAVE_HINT, lambda data: data[128:132] == b"DICM"),
    ("NumPy", _SAVE_HINT, _starts(b"\x93NUMPY")),
    ("Netpbm", _SAVE_HINT, lambda data: data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace()),
    ("ZIP", _UNPACK_HINT, _starts(b"PK\3\4", b"PK\5\6")),
    ("RAR", _UNPACK_HINT, _starts(b"Rar!")),
    ("7z", _UNPACK_HINT, _starts(b"7z\xbc\xaf")),
    ("gzip", _UNPACK_HINT, _starts(b"\x1f\x8b")),
    ("Matroska/WebM", _FRAME_HINT, _starts(b"\x1a\x45\xdf\xa3")),
)

_TEXT = Words("a text file", "텍스트 파일")
_HTML = Words("a web page (HTML)", "웹 페이지(HTML)")
_SVG = Words("a vector drawing (SVG)", "벡터 그림(SVG)")


def text_kind(data: bytes) -> Words | None:
    """Which kind of text this is; None where it is no text."""
    head = data[:4096]
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        text = head.decode(encoding)
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character cut at the end of the head is still text
            return None
        text = head[: error.start].decode(encoding, "ignore")
    if any(ord(c) < 32 and c not in "\t\n\r\f" for c in text):
        return None
    low = text.lower()
    if "<svg" in low:
        return _SVG
    return _HTML if "<html" in low or "<!doctype html" in low else _TEXT


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height that an extended WebP claims; None for all else. RFC 9649, section 2.7."""
    if data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8X" or len(data) < 30:
        return None
    return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1


def ends_early(data: bytes) -> bool:
    """Does a PNG, JPEG, WebP or BMP stop before its end?"""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-4096:]
    if data[:4] == b"RIFF" and len(data) >= 8:
        return bool(struct.unpack("<I", data[4:8])[0] + 8 > len(data))
    if data.startswith(b"BM") and len(data) >= 6:
        return bool(struct.unpack("<I", data[2:6])[0] > len(data))
    return data[:4] in (b"II*\0", b"MM\0*") and _tiff_ends_early(data)


def _tiff_ends_early(data: bytes) -> bool:
    if len(data) < 8:
        return True
    (offset,) = struct.unpack("<I" if data[:2] == b"II" else ">I", data[4:8])
    return bool(offset + 2 > len(data))
