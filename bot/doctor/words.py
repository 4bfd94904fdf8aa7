"""What the doctor says: each finding and its mend."""

from engines.words import Words

NO_PLATFORM = Words(
    "Neither Discord nor Slack has its tokens; the terminal works without.",
    "Discord와 Slack의 토큰이 없습니다. 터미널은 토큰 없이 쓸 수 있습니다.",
)
SET_TOKENS = Words(
    "Set DISCORD_TOKEN, or SLACK_BOT_TOKEN and SLACK_APP_TOKEN, or write them into the config file.",
    "DISCORD_TOKEN, 또는 SLACK_BOT_TOKEN과 SLACK_APP_TOKEN을 설정하거나 설정 파일에 적어 주십시오.",
)
HALF_SLACK = Words("Slack has only one of its two tokens.", "Slack 토큰 두 개 중 하나만 있습니다.")
SET_TOKEN = Words("Set {name} as well.", "{name}도 설정해 주십시오.")
NO_ANSWER = Words("The platforms could not be asked: {why}.", "플랫폼에 확인하지 못했습니다: {why}.")
LOOK_AT_NETWORK = Words(
    "Look at the network, the proxy and api_base.", "네트워크, 프록시, api_base를 확인해 주십시오."
)
NOT_WRITABLE = Words(
    "The data folder {folder} cannot be written: {why}.", "데이터 폴더 {folder}에 쓸 수 없습니다: {why}."
)
CHANGE_FOLDER = Words(
    "Give this user the right to write there, or set `data` to another folder.",
    "이 사용자에게 쓰기 권한을 주거나 `data`를 다른 폴더로 바꿔 주십시오.",
)
FOLDER = Words("Data folder {folder}, {free} GB free.", "데이터 폴더 {folder}, 남은 공간 {free} GB.")
MAKE_ROOM = Words(
    "Make room on this disk, or set `data` to another one.",
    "디스크 공간을 비우거나 `data`를 다른 디스크로 바꿔 주십시오.",
)
VERSIONS = Words(
    "Python {python}, SQLite {sqlite}, Pillow {pillow}.",
    "Python {python}, SQLite {sqlite}, Pillow {pillow} 버전입니다.",
)
NEW_SQLITE = Words(
    "SQLite 3.37 or later is needed: use a newer Python or system.",
    "SQLite 3.37 이상이 필요합니다. 더 새로운 Python이나 시스템을 사용해 주십시오.",
)
NEW_PILLOW = Words(
    "Pillow 13 or later is needed: install the pinned requirements again with `make setup`.",
    "Pillow 13 이상이 필요합니다. `make setup`으로 고정된 패키지를 다시 설치해 주십시오.",
)
DECODER = Words("Pictures are unpacked in their own process.", "사진은 별도 프로세스에서 풉니다.")
NO_DECODER = Words("Pictures cannot be unpacked: {why}", "사진을 풀 수 없습니다: {why}")
MORE_MEMORY = Words("Raise `limits.decoder_mb`.", "`limits.decoder_mb` 값을 높여 주십시오.")
DEVICE = Words(
    "Device {name}: {label}, {memory}, {dtype}.", "장치 {name}: {label}, 메모리 {memory}, 형식 {dtype}."
)
DRIVER = Words("NVIDIA driver for CUDA {version}.", "NVIDIA 드라이버: CUDA {version} 지원.")
CPU_ONLY = Words(
    "No GPU is used: the embedded models are quick enough, the large ones take minutes a picture.",
    "GPU를 쓰지 않습니다. 내장 모델은 충분히 빠르지만, 큰 모델은 그림 한 장에 몇 분이 걸립니다.",
)
BFLOAT16 = Words(
    'This processor computes bfloat16 itself: `[engines] dtype = "bfloat16"` makes pictures about 1.7 times faster, alike '
    "to the eye. Training stays in float32.",
    '이 프로세서는 bfloat16 연산을 지원합니다. `[engines] dtype = "bfloat16"`으로 설정하면 그림을 약 1.7배 빠르게 만들며 '
    "눈으로 보기에는 차이가 없습니다. 학습은 그대로 float32로 합니다.",
)
TORCH_CANNOT = Words("This torch cannot use it.", "지금 설치된 torch로는 쓸 수 없습니다.")
NEW_TORCH = Words(
    'Install the torch build for this device\'s driver, or set `engines.devices` to ["cpu"].',
    '장치 드라이버에 맞는 torch를 설치하거나 `engines.devices`를 ["cpu"]로 바꿔 주십시오.',
)
DAMAGED = Words("The model {name} is damaged: {files}.", "{name} 모델의 파일이 손상되었습니다: {files}.")
GET_AGAIN = Words(
    "Delete its folder and fetch it again with `defect-studio models fetch`.",
    "폴더를 지우고 `defect-studio models fetch`로 다시 받아 주십시오.",
)
CHANGE_DEVICES = Words("Change `engines.devices`.", "`engines.devices`를 바꿔 주십시오.")
CHANGE_MODEL = Words("Change `models.{kind}`.", "`models.{kind}`을(를) 바꿔 주십시오.")
NOT_HERE = Words(
    "The model {name}, used for {kind}, is not on this disk ({size}).",
    "{kind}에 쓰는 {name} 모델이 이 디스크에 없습니다 ({size}).",
)
FETCH = Words(
    "It is fetched when first asked for; `defect-studio models fetch {name}` does it now.",
    "처음 요청할 때 내려받습니다. 지금 받으려면 `defect-studio models fetch {name}` 명령을 써 주십시오.",
)
LICENCE = Words(
    "Model {name}, {size}, sha256 {hash}…: {licence}.", "{name} 모델, {size}, sha256 {hash}…: {licence}."
)
BUILT_IN = Words("Model {name}, built in: {licence}.", "{name} 모델, 내장: {licence}.")
NO_LICENCE = Words(
    "The licence of the model {name} is not known.", "{name} 모델의 라이선스를 알 수 없습니다."
)
READ_LICENCE = Words(
    "Read it where the model came from before its pictures are sold.",
    "그림을 상업적으로 쓰기 전에 모델을 받은 곳에서 라이선스를 확인해 주십시오.",
)
