"""The sentences about a file that was sent: one for each thing that can be wrong with it."""

from __future__ import annotations

from engines.words import Words

EMPTY = Words(
    "“{name}” is empty (0 bytes). The upload probably broke off; please send it again.",
    "“{name}” 파일이 비어 있습니다(0바이트). 업로드가 끊긴 것 같으니 다시 보내 주십시오.",
)
TOO_MANY_BYTES = Words(
    "“{name}” is {size}; at most {limit} is accepted. Please send it smaller or as JPEG.",
    "“{name}” 파일의 크기는 {size}이며, 최대 {limit}까지 받을 수 있습니다. 더 작게 줄이거나 JPEG로 보내 주십시오.",
)
TOO_MANY_PIXELS = Words(
    "“{name}” has {width} × {height} = {megapixels} megapixels; at most {limit} are accepted. "
    "Please crop it or make it smaller.",
    "“{name}” 사진은 {width} × {height} = {megapixels} 메가픽셀입니다. 최대 {limit} 메가픽셀까지 받을 수 있으니 "
    "잘라 내거나 줄여서 보내 주십시오.",
)
BOMB = Words(
    "“{name}” claims {width} × {height} pixels in a file of only {size}, so it was not unpacked "
    "(at most {limit} megapixels).",
    "“{name}” 파일은 {size}에 불과한데 {width} × {height} 픽셀이라고 되어 있어 풀지 않았습니다 (최대 {limit} 메가픽셀).",
)
BOMB_INSIDE = Words(
    "“{name}” hides data that would unpack to an enormous size, so it was not opened.",
    "“{name}” 파일 안에 지나치게 크게 풀리는 데이터가 숨어 있어 열지 않았습니다.",
)
TRUNCATED = Words(
    "“{name}” breaks off in the middle: the end of the file is missing. Please send it again.",
    "“{name}” 파일이 중간에서 끊겨 뒷부분이 없습니다. 다시 보내 주십시오.",
)
CORRUPT = Words(
    "“{name}” is damaged and cannot be read. Please save it again as PNG or JPEG and send that.",
    "“{name}” 파일이 손상되어 읽을 수 없습니다. PNG나 JPEG로 다시 저장해서 보내 주십시오.",
)
TEXT = Words(
    "“{name}” is {kind}, not a picture, whatever its name says. Please send PNG, JPEG, WebP, BMP or TIFF.",
    "“{name}” 파일은 이름과 달리 사진이 아니라 {kind}입니다. PNG, JPEG, WebP, BMP, TIFF 사진을 보내 주십시오.",
)
FORMAT = Words(
    "“{name}” is a {kind} file; only PNG, JPEG, WebP, BMP and TIFF pictures are accepted.",
    "“{name}” 파일은 {kind} 형식입니다. PNG, JPEG, WebP, BMP, TIFF 사진만 받을 수 있습니다.",
)
UNKNOWN = Words(
    "“{name}” is not a picture in any format known here. Please send PNG, JPEG, WebP, BMP or TIFF.",
    "“{name}” 파일은 알아볼 수 있는 사진 형식이 아닙니다. PNG, JPEG, WebP, BMP, TIFF 사진을 보내 주십시오.",
)
FIRST_FRAME = Words(
    "The file holds several pictures; only the first one was used.",
    "파일에 그림이 여러 장 들어 있어 첫 번째 그림만 사용했습니다.",
)
EIGHT_BITS = Words(
    "Colour of 16 bits per channel was read as 8 bits; 16-bit greyscale is kept in full.",
    "채널당 16비트인 컬러는 8비트로 읽었습니다. 16비트 흑백은 그대로 유지됩니다.",
)
FROM_CMYK = Words("The print colours (CMYK) were turned into RGB.", "인쇄용 색상(CMYK)을 RGB로 변환했습니다.")
SCALED = Words(
    "The values {low} to {high} were scaled to 16-bit greyscale.",
    "픽셀 값 {low}~{high}을(를) 16비트 흑백 범위로 변환했습니다.",
)
TOO_LONG = Words(
    "“{name}” took longer than {seconds} s to read and was given up. Please save it anew as PNG or JPEG.",
    "“{name}” 파일을 읽는 데 {seconds}초가 넘게 걸려 중단했습니다. PNG나 JPEG로 다시 저장해서 보내 주십시오.",
)
TOO_MUCH_MEMORY = Words(
    "“{name}” takes too much memory to unpack, or broke the decoder. Please make it smaller, or save it anew "
    "as PNG or JPEG.",
    "“{name}” 파일을 푸는 데 메모리가 너무 많이 들거나 디코더가 멈추었습니다. 더 작게 줄이거나 PNG나 JPEG로 다시 "
    "저장해서 보내 주십시오.",
)
