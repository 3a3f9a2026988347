// The page to try models: what is asked, by the kind of the model, and the answer as a person wants to see it.
"use strict";

const $ = (id) => document.getElementById(id);
const SMALLEST = 256; // pixels at which small pictures are shown
let models = [];
let read = () => null; // returns the input as JSON
let fill = () => {}; // shows an input

function make(tag, text = "", settings = {}) {
  const element = Object.assign(document.createElement(tag), settings);
  if (text !== "") element.textContent = text;
  return element;
}

function model() {
  return models.find((one) => one.id === $("model").value);
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

// ---- what is asked

function field(name, value, type = "text") {
  const row = make("div", "", { className: "field" });
  const id = `field-${name}`;
  const input = make("input", "", { id, type, value: value ?? "", name });
  row.append(make("label", name, { htmlFor: id }), input);
  return [row, input];
}

function textInput(place, rows = 1) {
  const boxes = [];
  for (let number = 0; number < rows; number++) {
    const label = rows > 1 ? `Text ${number + 1}` : "Text";
    const box = make("textarea", "", { id: `text-${number}`, ariaLabel: label });
    boxes.push(box);
    place.append(box);
  }
  read = () => (rows > 1 ? boxes.map((box) => box.value) : boxes[0].value);
  fill = (given) => (rows > 1 ? given : [given]).forEach((text, n) => { boxes[n].value = text; });
}

function chatInput(place) {
  textInput(place);
  fill = (given) => {
    $("text-0").value = typeof given === "string" ? given : (given.messages ?? given).at(-1).content;
  };
}

function fields(place, names, labels = {}) {
  const inputs = new Map();
  for (const name of names) {
    const [row, input] = field(labels[name] ?? name, "");
    inputs.set(name, input);
    place.append(row);
  }
  fill = (given) => {
    for (const [name, input] of inputs) {
      const value = typeof given === "object" ? given[name] : name === names[0] ? given : "";
      input.value = Array.isArray(value) ? value.join(", ") : value ?? "";
    }
  };
  return inputs;
}

function rowInput(place, columns) {
  const inputs = fields(place, columns);
  read = () => Object.fromEntries([...inputs].map(([name, box]) => [name, box.value === "" ? null : box.value]));
}

function questionInput(place) {
  const inputs = fields(place, ["question"]);
  const box = make("textarea", "", { ariaLabel: "Context", placeholder: "The text that has the answer" });
  place.append(box);
  const old = fill;
  fill = (given) => { old(given); box.value = given.context; };
  read = () => ({ question: inputs.get("question").value, context: box.value });
}

function userInput(place) {
  const inputs = fields(place, ["user", "history"]);
  read = () => {
    const history = inputs.get("history").value.split(",").map((x) => x.trim()).filter(Boolean);
    return history.length ? { history } : { user: inputs.get("user").value };
  };
}

function observationInput(place) {
  textInput(place);
  fill = (given) => { $("text-0").value = JSON.stringify(given); };
}

async function toBase64(blob) {
  const url = await new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
  return url.slice(url.indexOf(",") + 1);
}

// Browsers apply the EXIF orientation of a JPEG and models do not: show the pixels that the boxes refer to.
async function unturned(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return blob;
  const kept = [bytes.subarray(0, 2)];
  let at = 2;
  while (bytes[at] === 0xff && bytes[at + 1] !== 0xda) { // segments, up to the first scan
    const end = at + 2 + 256 * bytes[at + 2] + bytes[at + 3];
    if (bytes[at + 1] !== 0xe1) kept.push(bytes.subarray(at, end)); // not EXIF
    at = end;
  }
  return new Blob([...kept, bytes.subarray(at)], { type: blob.type });
}

function fileInput(place, kind) {
  const drop = make("div", "", { className: "drop", id: "drop" });
  const chosen = make("input", "", { type: "file", accept: `${kind}/*`, id: "file", ariaLabel: `A file of ${kind}` });
  const shown = make(kind === "image" ? "img" : "audio", "", { hidden: true, id: "shown" });
  if (kind === "image") shown.alt = "The image that is asked about"; else shown.controls = true;
  drop.append(make("p", `Drop ${kind === "image" ? "an image" : "a recording"} here, or choose a file`), chosen, shown);
  place.append(drop);
  let given = null;
  const take = async (blob) => {
    given = { base64: await toBase64(blob) };
    shown.src = URL.createObjectURL(kind === "image" ? await unturned(blob) : blob);
    shown.hidden = false;
    if (kind === "image") {
      await shown.decode().catch(() => {});
      shown.classList.toggle("small", shown.naturalWidth > 0 && shown.naturalWidth < 64);
    }
  };
  chosen.onchange = () => chosen.files.length && take(chosen.files[0]);
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  };
  read = () => given;
  fill = (value) => {
    const bytes = Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0));
    return take(new Blob([bytes], { type: kind === "image" ? "image/png" : "audio/wav" }));
  };
  if (kind === "audio") place.append(recordButton(take));
}

function recordButton(take) {
  const button = make("button", "Record", { type: "button", id: "record" });
  let stop = null;
  button.onclick = async () => {
    if (stop) { stop(); return; }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const context = new AudioContext();
      const parts = [];
      const node = context.createScriptProcessor(4096, 1, 1);
      node.onaudioprocess = (event) => parts.push(event.inputBuffer.getChannelData(0).slice());
      context.createMediaStreamSource(stream).connect(node);
      node.connect(context.destination);
      button.textContent = "Stop";
      stop = () => {
        stop = null;
        button.textContent = "Record";
        stream.getTracks().forEach((track) => track.stop());
        take(wav(parts.flatMap((part) => [...part]), context.sampleRate));
        context.close();
      };
    } catch (error) {
      say(`the microphone cannot be used (${error.message}): choose a file`, true);
    }
  };
  return button;
}

function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((c, n) => view.setUint8(at + n, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true);
  view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, n) => view.setInt16(44 + 2 * n, Math.max(-1, Math.min(1, x)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

const INPUTS = {
  text: (place) => textInput(place),
  prompt: (place) => textInput(place),
  chat: (place) => chatInput(place),
  pair: (place) => textInput(place, 2),
  question: (place) => questionInput(place),
  image: (place) => fileInput(place, "image"),
  audio: (place) => fileInput(place, "audio"),
  row: (place, one) => rowInput(place, one.columns),
  user: (place) => userInput(place),
  observation: (place) => observationInput(place),
};

function showModel() {
  const one = model();
  $("digest").textContent = one.digest.slice(0, 12);
  $("input").replaceChildren();
  $("answer").replaceChildren();
  $("raw").hidden = true;
  say("");
  INPUTS[one.kind]($("input"), one);
  $("options").replaceChildren(...Object.entries(one.options).map(([name, value]) => field(name, value)[0]));
  $("more").hidden = !Object.keys(one.options).length;
}

function options() {
  const found = {};
  for (const input of $("options").querySelectorAll("input")) {
    const usual = model().options[input.name];
    if (input.value === "" || input.value === String(usual ?? "")) continue;
    // a speaker may be called 19, as those of LibriSpeech are
    const text = typeof usual === "string" || input.name === "speaker" || Number.isNaN(Number(input.value));
    found[input.name] = text ? input.value : Number(input.value);
  }
  return found;
}

// ---- what is answered

function bars(pairs) {
  const most = Math.max(...pairs.map(([, value]) => Math.abs(value)), 1e-12);
  return pairs.map(([name, value]) => {
    const row = make("div", "", { className: "bar" });
    const bar = make("div");
    const inner = make("i");
    inner.style.width = `${Math.max(0, (100 * value) / Math.max(most, value > 1 ? most : 1))}%`;
    bar.append(inner);
    row.append(make("span", name), bar, make("span", value.toPrecision(3)));
    return row;
  });
}

function spans(text, found) {
  const line = make("p", "", { className: "text" });
  let at = 0;
  const letters = [...text]; // places count characters, and not units of UTF-16
  for (const one of [...found].sort((a, b) => a.start - b.start)) {
    if (one.start < at) continue;
    line.append(letters.slice(at, one.start).join(""));
    const mark = make("mark", letters.slice(one.start, one.end).join(""));
    mark.append(make("small", one.type ?? one.label));
    line.append(mark);
    at = one.end;
  }
  line.append(letters.slice(at).join(""));
  return line;
}

function picture(pixels) {
  const high = pixels.length, wide = pixels[0].length;
  const canvas = make("canvas", "", { width: wide, height: high });
  const image = canvas.getContext("2d").createImageData(wide, high);
  pixels.flat().forEach((pixel, n) => {
    const colour = Array.isArray(pixel) ? (pixel.length === 1 ? [pixel[0], pixel[0], pixel[0]] : pixel) : [pixel, pixel, pixel];
    image.data.set([...colour.slice(0, 3), 255], 4 * n);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.style.width = `${Math.max(wide, SMALLEST)}px`;
  return canvas;
}

async function boxes(answer) {
  const canvas = make("canvas", "", { width: answer.width, height: answer.height });
  const image = $("shown");
  await image.decode();
  const draw = canvas.getContext("2d");
  draw.drawImage(image, 0, 0, answer.width, answer.height);
  const size = Math.max(12, Math.round(answer.height / 30));
  draw.font = `${size}px sans-serif`;
  draw.lineWidth = Math.max(2, size / 8);
  const names = [...new Set(answer.boxes.map((box) => box.label))].sort();
  for (const one of answer.boxes) {
    const [left, top, right, bottom] = one.box;
    draw.strokeStyle = draw.fillStyle = `hsl(${(360 * names.indexOf(one.label)) / names.length} 90% 45%)`;
    draw.strokeRect(left, top, right - left, bottom - top);
    draw.fillText(`${one.label} ${one.score.toFixed(2)}`, left + 2, Math.max(size, top - 4));
  }
  canvas.style.imageRendering = "auto";
  return canvas;
}

async function shown(answer, asked) {
  if ("probabilities" in answer) return bars(Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]));
  if ("value" in answer) return [make("p", Number(answer.value).toPrecision(6), { className: "value" })];
  if ("entities" in answer) return [spans(answer.text ?? asked, answer.entities)];
  if ("items" in answer) return bars(answer.items.map((name, n) => [name, answer.scores[n]]));
  if ("boxes" in answer) return [await boxes(answer), make("p", `${answer.boxes.length} boxes`)];
  if ("pixels" in answer) return [picture(answer.pixels)];
  if ("samples" in answer) {
    return [make("audio", "", { controls: true, src: URL.createObjectURL(wav(answer.samples, answer.rate)) })];
  }
  if ("answer" in answer) return [make("p", answer.answer || "(no answer in the text)", { className: "text" })];
  if ("text" in answer) return [make("p", answer.text || "(nothing)", { className: "text" })];
  return [make("pre", JSON.stringify(answer, null, 1))];
}

async function write(one, input) {
  const chosen = { ...one.options, ...options() };
  const asked = {
    model: one.id,
    stream: true,
    temperature: chosen.temperature,
    top_p: chosen.top_p,
    seed: chosen.seed,
    max_tokens: chosen.length ?? Math.min(100, Math.max(1, Math.floor(one.context / 2))),
    ...(one.kind === "chat" ? { messages: [{ role: "user", content: input }] } : { prompt: input }),
  };
  const response = await fetch(one.kind === "chat" ? "v1/chat/completions" : "v1/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(asked),
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  const text = make("p", "", { className: "text" });
  $("answer").replaceChildren(text);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let id = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const line of events.map((event) => event.replace(/^data: /, "")).filter((line) => line !== "[DONE]")) {
      const found = JSON.parse(line);
      if (found.error) throw new Error(found.error.message);
      id = found.id;
      text.append(found.choices[0].delta?.content ?? found.choices[0].text ?? "");
    }
  }
  if (!text.textContent) text.textContent = "(nothing)";
  return id;
}

async function predict(one, input) {
  const response = await fetch("v1/predict", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: one.id, inputs: [input], options: options() }),
  });
  const found = await response.json();
  if (!response.ok) throw new Error(found.error.message);
  $("answer").replaceChildren(...(await shown(found.answers[0], input)));
  $("raw").hidden = false;
  $("json").textContent = JSON.stringify(found.answers[0], null, 1).slice(0, 20000);
  return found.id;
}

async function ask(event) {
  event.preventDefault();
  const one = model();
  const input = read();
  if (input === null) { say("choose a file first", true); return; }
  $("send").disabled = true;
  $("answer").replaceChildren();
  $("raw").hidden = true;
  say("asking ...");
  const began = performance.now();
  try {
    const id = await (one.context === null ? predict : write)(one, input);
    say(`${Math.round(performance.now() - began)} ms, request ${id}`);
  } catch (error) {
    say(error.message, true);
  } finally {
    $("send").disabled = false;
  }
}

async function start() {
  try {
    const response = await fetch("v1/models");
    const found = await response.json();
    if (!response.ok) throw new Error(found.error.message);
    models = found.data;
  } catch (error) {
    say(`the models cannot be listed: ${error.message}`, true);
    return;
  }
  $("model").replaceChildren(...models.map((one) => make("option", one.id, { value: one.id })));
  $("model").onchange = showModel;
  $("form").onsubmit = ask;
  $("example").onclick = () => fill(model().example);
  showModel();
}

start();
