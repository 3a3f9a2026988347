"""Images of bright rectangles on black, and their boxes in the forms of COCO and Pascal VOC."""

import json

import numpy as np
from PIL import Image

NAMES = ("cell", "dot")


def scenes(count, size=(48, 64), seed=0):
    """Images uint8 [H, W, 3], of each its boxes [n, 4] in pixels and classes; a dot is small and blue."""
    draw, found = np.random.default_rng(seed), []
    for _ in range(count):
        image, boxes, classes = np.zeros((*size, 3), np.uint8), [], []
        for place in range(draw.integers(1, 4)):  # in columns of their own, so that none hides another
            label = int(draw.integers(0, 2))
            side = int(draw.integers(5, 8)) if label else int(draw.integers(10, 15))
            left, top = place * 21 + 3 + int(draw.integers(0, 16 - side)), int(draw.integers(0, size[0] - side))
            image[top : top + side, left : left + side] = (40, 40, 255) if label else (255, 230, 230)
            boxes.append((left, top, left + side, top + side))
            classes.append(label)
        found.append((image, np.array(boxes, np.float64), np.array(classes, np.int32)))
    return found


def write_coco(folder, count, seed=0):
    """Write images and instances.json."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, (image, boxes, classes) in enumerate(scenes(count, seed=seed)):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        images.append(
            {"id": number + 7, "file_name": f"{number}.png", "height": image.shape[0], "width": image.shape[1]}
        )
        for (left, top, right, bottom), label in zip(boxes.tolist(), classes.tolist(), strict=True):
            box = {"id": len(annotations), "image_id": number + 7, "bbox": [left, top, right - left, bottom - top]}
            annotations.append({**box, "category_id": label + 3, "iscrowd": 0})
    categories = [{"id": label + 3, "name": name} for label, name in enumerate(NAMES)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(whole))


def write_voc(folder, parts):
    """Write the folders of Pascal VOC, of the lists `parts`, name -> (number of images, seed)."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for part, (count, seed) in parts.items():
        stems = [f"{part}_{number}" for number in range(count)]
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{stem}\n" for stem in stems))
        for stem, (image, boxes, classes) in zip(stems, scenes(count, seed=seed), strict=True):
            Image.fromarray(image).save(folder / "JPEGImages" / f"{stem}.jpg", quality=95)
            objects = ""
            for (left, top, right, bottom), label in zip(boxes.astype(int).tolist(), classes.tolist(), strict=True):
                corners = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
                objects += f"<object><name>{NAMES[label]}</name><bndbox>{corners}</bndbox></object>"
            size = f"<size><width>{image.shape[1]}</width><height>{image.shape[0]}</height></size>"
            (folder / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
