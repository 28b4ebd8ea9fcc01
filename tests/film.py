"""Makes a film that tells which second of it is seen, and a page that seeks in it.

A lossy WebP picture holds one VP8 key frame (RFC 9649 §2.5), and a browser makes WebP pictures of a
canvas, so no encoder is needed but the browser that plays the film. It is a WebM file.

Order: what the browser draws; the page of the player; the film.

Invariant: every frame stands in a cluster of its own, and the cues, which come first, name the
place of each, so that a player can seek by ranges.
"""

import base64
import struct

WIDTH, HEIGHT = 640, 360
SECONDS = 90
SEEK_SECONDS = SECONDS - 2.5
FRAME_MILLISECONDS = 1000

# The number of the second, a square for each bit, over noise, so that a second weighs more than
# 100 KB and the film more than a browser reads ahead.
DRAW = """(second => {
    const canvas = document.createElement("canvas");
    canvas.width = %d, canvas.height = %d;
    const context = canvas.getContext("2d", {alpha: false});
    const noise = context.createImageData(canvas.width, canvas.height);
    for (let at = 0; at < noise.data.length; at++) noise.data[at] = at %% 4 == 3 ? 255 : Math.random() * 256;
    context.putImageData(noise, 0, 0);
    for (let bit = 0; bit < 7; bit++) {
        context.fillStyle = second >> bit & 1 ? "white" : "black";
        context.fillRect(bit * 80, 0, 80, 80);
    }
    return canvas.toDataURL("image/webp", 0.8);
})""" % (WIDTH, HEIGHT)

# It seeks as soon as it knows the length, and says what it shows then.
PLAYER = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>player</title></head>
<body><video muted preload="auto" src="/film.webm"></video>
<script>
const video = document.querySelector("video"), data = document.body.dataset;
video.onerror = () => data.state = `failed: ${video.error.message}`;
video.onloadedmetadata = () => { data.duration = video.duration; video.currentTime = %s; };
video.onseeked = () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth, canvas.height = video.videoHeight;
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    let second = 0;
    for (let bit = 0; bit < 7; bit++) {
        second |= (context.getImageData(bit * 80 + 40, 40, 1, 1).data[0] > 127) << bit;
    }
    data.shows = second, data.time = video.currentTime, data.state = "seeked";
};
</script></body></html>
""" % SEEK_SECONDS


def record(page):
    """The film, drawn in a page of the browser."""
    urls = [page.value(f"{DRAW}({second})") for second in range(SECONDS)]
    return film([base64.b64decode(url.partition(",")[2]) for url in urls], WIDTH, HEIGHT)


def film(pictures, width, height):
    """The film of these WebP pictures."""
    clusters = [
        element(0x1F43B675, number(0xE7, at * FRAME_MILLISECONDS) + element(0xA3, b"\x81\0\0\x80" + key_frame(picture)))
        for at, picture in enumerate(pictures)
    ]
    information = element(0x1549A966, b"".join([
        number(0x2AD7B1, 1_000_000),  # nanoseconds of a tick
        element(0x4489, struct.pack(">d", len(pictures) * FRAME_MILLISECONDS)),
        element(0x4D80, b"tests/film.py"),
        element(0x5741, b"tests/film.py"),
    ]))  # fmt: skip
    video = number(0xB0, width) + number(0xBA, height)
    track = number(0xD7, 1) + number(0x73C5, 1) + number(0x83, 1) + number(0x9C, 0) + element(0x86, b"V_VP8")
    tracks = element(0x1654AE6B, element(0xAE, track + element(0xE0, video)))
    # Numbers have eight bytes, so the length of the cues does not depend on what they say.
    before = len(information + tracks + cues([0] * len(clusters)))
    places = [before + sum(map(len, clusters[:at])) for at in range(len(clusters))]
    segment = b"".join([information, tracks, cues(places), *clusters])
    return header() + element(0x18538067, segment)


def header():
    """EBML (RFC 8794 §11.2), of the kind webm."""
    versions = [(0x4286, 1), (0x42F7, 1), (0x42F2, 4), (0x42F3, 8), (0x4287, 2), (0x4285, 2)]
    return element(0x1A45DFA3, b"".join(number(*version) for version in versions) + element(0x4282, b"webm"))


def cues(places):
    """Where in the segment each second begins."""
    return element(0x1C53BB6B, b"".join(
        element(0xBB, number(0xB3, at * FRAME_MILLISECONDS) + element(0xB7, number(0xF7, 1) + number(0xF1, place)))
        for at, place in enumerate(places)
    ))  # fmt: skip


def key_frame(picture):
    """The VP8 frame of a lossy WebP picture, which is a RIFF file of one or more chunks."""
    if picture[:4] != b"RIFF" or picture[8:12] != b"WEBP":
        raise ValueError("not a WebP picture")
    at = 12
    while at + 8 <= len(picture):
        kind, length = struct.unpack_from("<4sI", picture, at)
        if kind == b"VP8 ":
            return picture[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise ValueError("not a lossy picture")


def element(identifier, content):
    """An EBML element; its length is written in eight bytes, as is always allowed."""
    name = identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")
    return name + (1 << 56 | len(content)).to_bytes(8, "big") + content


def number(identifier, value):
    """An element that is an unsigned number."""
    return element(identifier, value.to_bytes(8, "big"))
