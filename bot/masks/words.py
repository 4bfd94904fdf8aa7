"""The sentences about masks: what was understood, what could not be, and the ways to give one."""

from __future__ import annotations

from engines.words import Words

WAYS = Words(
    "A mask can be: a second picture (white = change), a transparent PNG, a copy of the photo with the place "
    "painted over in a strong colour, `box=x,y,w,h` in pixels or percent, `auto` (the object) or "
    "`auto-inverse` (the background).",
    "마스크는 다음 방법으로 줄 수 있습니다: 두 번째 그림(흰색 = 바꿀 곳), 투명한 PNG, 바꿀 곳을 진한 색으로 칠한 "
    "사진 사본, `box=x,y,너비,높이`(픽셀 또는 %), `auto`(물체), `auto-inverse`(배경).",
)
NO_MASK = Words("It is not said where to change the photo.", "사진에서 바꿀 곳이 지정되지 않았습니다.")
MARKS_SEEN = Words(
    "It is not said where to change the photo. A place in it looks painted over: `mask:colour` takes that. "
    "Otherwise give a second picture (white = change) or `mask:box=x,y,w,h`.",
    "사진에서 바꿀 곳이 지정되지 않았습니다. 칠해진 부분이 보이는데, `mask:colour`를 쓰면 그곳을 바꿉니다. "
    "아니면 두 번째 그림(흰색 = 바꿀 곳)이나 `mask:box=x,y,너비,높이`를 주십시오.",
)
NOTHING = Words(
    "The mask is empty: nothing in it is white, so nothing would change. Paint the place to change white.",
    "마스크가 비어 있습니다. 흰 부분이 없어 아무것도 바뀌지 않습니다. 바꿀 곳을 흰색으로 칠해 주십시오.",
)
EVERYTHING = Words(
    "The mask is white everywhere: the whole photo will be made anew.",
    "마스크가 전부 흰색이어서 사진 전체를 새로 그립니다.",
)
OTHER_SHAPE = Words(
    "The photo is {pw} × {ph} pixels but the mask is {mw} × {mh}: they have different shapes.",
    "사진은 {pw} × {ph} 픽셀인데 마스크는 {mw} × {mh} 픽셀이어서 가로세로 비율이 다릅니다.",
)
TURN_IT = Words("Turn the mask by 90° and send it again.", "마스크를 90° 돌려서 다시 보내 주십시오.")
FIT_IT = Words("Please send a mask of the photo's size.", "사진과 같은 크기의 마스크를 보내 주십시오.")
RESIZED = Words(
    "The mask was resized from {mw} × {mh} to the photo's {pw} × {ph} pixels.",
    "마스크 크기를 {mw} × {mh}에서 사진 크기인 {pw} × {ph} 픽셀로 맞추었습니다.",
)
FROM_ALPHA = Words(
    "Where the picture is transparent will change (`invert:yes` for the opposite).",
    "그림의 투명한 부분을 바꿉니다(반대로 하려면 `invert:yes`).",
)
FROM_STROKES = Words(
    "The white strokes on the transparent layer will change (`invert:yes` for the opposite).",
    "투명한 배경 위에 흰색으로 칠한 부분을 바꿉니다(반대로 하려면 `invert:yes`).",
)
FROM_COLOUR = Words("The places marked in {colour} will change.", "{colour} 색으로 표시한 부분을 바꿉니다.")
FROM_DIFFERENCE = Words(
    "The mask is a painted-over copy of the photo: the painted places will change.",
    "마스크가 사진 위에 칠한 사본이므로 칠한 부분을 바꿉니다.",
)
MANY_GREYS = Words(
    "The mask has many greys; everything lighter than 50 % counts as white.",
    "마스크에 회색이 많아 50 %보다 밝은 부분을 모두 흰색으로 보았습니다.",
)
LABELS = Words(
    "The mask is very dark (its values end at {top}); everything that is not black counts as white.",
    "마스크가 매우 어두워(최댓값 {top}) 검은색이 아닌 부분을 모두 흰색으로 보았습니다.",
)
AUTO_FRONT = Words("What stands out in the photo will change.", "사진에서 두드러지는 물체를 바꿉니다.")
AUTO_BACK = Words(
    "Everything but what stands out in the photo will change.",
    "사진에서 두드러지는 물체를 뺀 배경을 바꿉니다.",
)
BY_COLOURS = Words(
    "The object was told from its background by colours alone (GrabCut), as the background remover's network "
    "u2netp is not here.",
    "배경 제거 모델 u2netp가 없어 색만으로(GrabCut) 물체와 배경을 구분했습니다.",
)
BY_COLOURS_AFTER_ALL = Words(
    "The background remover saw no object, so it was told from its background by colours alone (GrabCut).",
    "배경 제거 모델이 물체를 찾지 못해 색만으로(GrabCut) 물체와 배경을 구분했습니다.",
)
NO_OBJECT = Words(
    "No object stands out from the background here. Please use `mask:box=x,y,w,h` or a painted mask.",
    "배경에서 두드러지는 물체를 찾지 못했습니다. `mask:box=x,y,너비,높이`나 직접 칠한 마스크를 써 주십시오.",
)
BOX_OUTSIDE = Words(
    "The box {box} lies outside the photo, which is {width} × {height} pixels.",
    "상자 {box}이(가) 사진({width} × {height} 픽셀) 밖에 있습니다.",
)
BOX_CUT = Words(
    "The box was cut at the photo's edge ({width} × {height} pixels).",
    "상자가 사진({width} × {height} 픽셀)을 벗어나 가장자리에서 잘랐습니다.",
)
NEEDS_PICTURE = Words(
    "`mask:difference` needs a second picture: a copy of the photo with the place painted over.",
    "`mask:difference`에는 바꿀 곳을 칠한 사진 사본이 두 번째 그림으로 필요합니다.",
)
NOT_TRANSPARENT = Words(
    "Nothing in the picture is transparent. Save it as PNG with the place to change erased, or give another mask.",
    "그림에 투명한 부분이 없습니다. 바꿀 곳을 지운 PNG로 저장하거나 다른 마스크를 주십시오.",
)
NO_COPY = Words(
    "The second picture is not a painted-over copy of the photo: too much of it differs.",
    "두 번째 그림이 사진 위에 칠한 사본이 아닙니다. 다른 부분이 너무 많습니다.",
)
NO_COLOUR = Words(
    "No place painted over in a strong colour was found.", "진한 색으로 칠한 부분을 찾지 못했습니다."
)
NOT_A_MASK = Words(
    "The second picture is neither black and white, nor transparent, nor a painted-over copy of the photo.",
    "두 번째 그림이 흑백도 아니고, 투명하지도 않으며, 사진 위에 칠한 사본도 아닙니다.",
)
