"""The sentences about an archive that was sent: one for each thing that can be wrong with it."""

from __future__ import annotations

from engines.words import Words

NOT_A_ZIP = Words(
    "“{zip}” is not a ZIP archive. Please pack the files as ZIP and send that.",
    "“{zip}” 파일은 ZIP 압축 파일이 아닙니다. ZIP으로 압축해서 보내 주십시오.",
)
OTHER_KIND = Words(
    "“{zip}” is a {kind} archive; only ZIP is understood. Please pack the files as ZIP.",
    "“{zip}” 파일은 {kind} 형식입니다. ZIP만 읽을 수 있으니 ZIP으로 압축해서 보내 주십시오.",
)
ENDS_EARLY = Words(
    "“{zip}” breaks off: its end is missing. Please send it again.",
    "“{zip}” 파일이 중간에서 끊겨 뒷부분이 없습니다. 다시 보내 주십시오.",
)
SPLIT = Words(
    "“{zip}” is one piece of an archive in several files. Please pack it as a single ZIP.",
    "“{zip}” 파일은 여러 개로 나뉜 압축 파일의 일부입니다. 하나의 ZIP으로 압축해서 보내 주십시오.",
)
DAMAGED = Words(
    "“{zip}” is damaged: its table of contents does not fit its contents. Please pack it again.",
    "“{zip}” 파일이 손상되어 목차와 내용이 맞지 않습니다. 다시 압축해서 보내 주십시오.",
)
EMPTY = Words("There is no file in “{zip}”.", "“{zip}” 안에 파일이 없습니다.")
TOO_MANY = Words(
    "“{zip}” holds {count} files; at most {limit} are taken at once. Please split it.",
    "“{zip}” 안에 파일이 {count}개 있습니다. 한 번에 최대 {limit}개까지 받을 수 있으니 나누어 보내 주십시오.",
)
TOO_MUCH = Words(
    "“{zip}” would unpack to {size}; at most {limit} is allowed. Please split it.",
    "“{zip}” 파일을 풀면 {size}입니다. 최대 {limit}까지 가능하니 나누어 보내 주십시오.",
)
FILE_TOO_LARGE = Words(
    "“{name}” in “{zip}” has {size}; one file may have {limit} at most. Please make it smaller or leave it out.",
    "“{zip}” 안의 “{name}” 파일은 {size}입니다. 파일 하나는 최대 {limit}까지 가능하니 줄이거나 빼 주십시오.",
)
BOMB = Words(
    "“{zip}” has {packed} and would unpack to {size}. That is no archive of pictures, so it was not unpacked.",
    "“{zip}” 파일은 {packed}인데 풀면 {size}가 됩니다. 사진을 담은 압축 파일로 볼 수 없어 풀지 않았습니다.",
)
ENCRYPTED = Words(
    "“{zip}” is locked with a password. Please pack it without one.",
    "“{zip}” 파일에 암호가 걸려 있습니다. 암호 없이 압축해서 보내 주십시오.",
)
METHOD = Words(
    "“{name}” in “{zip}” is packed by a method that is not known here ({method}). "
    "Please pack it as an ordinary ZIP (“Deflate”).",
    "“{zip}” 안의 “{name}” 파일은 알 수 없는 방식({method})으로 압축되어 있습니다. "
    "일반 ZIP(“Deflate”)으로 압축해서 보내 주십시오.",
)
LINK = Words(
    "“{name}” in “{zip}” is a link or a device, not a file. Please pack the files themselves.",
    "“{zip}” 안의 “{name}” 항목은 파일이 아니라 링크이거나 장치입니다. 파일 자체를 압축해 주십시오.",
)
UPWARD = Words(
    "“{name}” in “{zip}” points out of the archive (`..`), so nothing was unpacked.",
    "“{zip}” 안의 “{name}” 경로가 압축 파일 바깥(`..`)을 가리켜 풀지 않았습니다.",
)
ABSOLUTE = Words(
    "“{name}” in “{zip}” has an absolute path, so nothing was unpacked. Please pack a folder, not a disk.",
    "“{zip}” 안의 “{name}” 항목이 절대 경로라서 풀지 않았습니다. 디스크가 아닌 폴더를 압축해 주십시오.",
)
DRIVE = Words(
    "“{name}” in “{zip}” names a drive, so nothing was unpacked. Please pack a folder, not a disk.",
    "“{zip}” 안의 “{name}” 항목에 드라이브 이름이 들어 있어 풀지 않았습니다. 폴더를 압축해 주십시오.",
)
BACKSLASH = Words(
    "“{name}” in “{zip}” has a backslash in its name, which no ZIP may have. Please pack it with another program.",
    "“{zip}” 안의 “{name}” 이름에 ZIP에 쓸 수 없는 역슬래시가 있습니다. 다른 프로그램으로 압축해 주십시오.",
)
ODD_NAME = Words(
    "The name “{name}” in “{zip}” is empty, too long, or has characters that no file name should have. "
    "Please rename that file.",
    "“{zip}” 안의 “{name}” 이름이 비었거나 너무 길거나 파일 이름에 쓸 수 없는 문자가 있습니다. 이름을 바꿔 주십시오.",
)
TWICE = Words(
    "“{name}” is in “{zip}” twice. Please keep one of the two.",
    "“{zip}” 안에 “{name}” 파일이 두 개 있습니다. 하나만 남겨 주십시오.",
)
OVERLAP = Words(
    "Files in “{zip}” share the same bytes, as only archives made to do harm have. It was not unpacked.",
    "“{zip}” 안의 파일들이 서로 겹쳐 있습니다. 해를 끼치려고 만든 압축 파일에만 있는 일이라 풀지 않았습니다.",
)
WRONG_SUM = Words(
    "“{name}” in “{zip}” is damaged (its checksum is wrong). Please pack and send it again.",
    "“{zip}” 안의 “{name}” 파일이 손상되었습니다(체크섬 불일치). 다시 압축해서 보내 주십시오.",
)
NESTED = Words(
    "“{name}” in “{zip}” is an archive itself. Please unpack it first: only files may be inside.",
    "“{zip}” 안의 “{name}” 파일도 압축 파일입니다. 먼저 풀어서 파일만 담아 주십시오.",
)
