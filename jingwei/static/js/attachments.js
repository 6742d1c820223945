// The attachments of a record: files chosen, dropped or photographed go up one after the other, each with its
// progress; what is refused says why and stays in sight.
const MB = 1024 * 1024;

function line(card, file) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  const progress = document.createElement("progress");
  name.textContent = file.name;
  progress.max = 100;
  progress.value = 0;
  progress.setAttribute("aria-label", `上传${file.name}的进度`);
  item.append(name, progress);
  card.querySelector("[data-uploads]").append(item);
  return item;
}

function refuse(item, reason) {
  const said = document.createElement("span");
  said.className = "text-danger";
  said.textContent = reason;
  item.querySelector("progress").replaceWith(said);
}

function answerOf(request) {
  try {
    return JSON.parse(request.responseText).refusal;
  } catch {
    return "上传没有成功，请刷新页面后再试。";
  }
}

function send(form, file, item) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    const content = new FormData(form);
    content.delete("file");
    content.append("file", file);
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) item.querySelector("progress").value = (100 * event.loaded) / event.total;
    });
    request.addEventListener("load", () => {
      if (request.status === 201) item.remove();
      else refuse(item, answerOf(request));
      done();
    });
    request.addEventListener("error", () => {
      refuse(item, "上传中断，请检查网络后再试一次。");
      done();
    });
    request.send(content);
  });
}

async function refresh(card) {
  const list = card.querySelector("[data-attachments-list]");
  await window.htmx.ajax("GET", card.dataset.attachments, { target: list, swap: "innerHTML" });
  const counted = list.querySelector("[data-count]");
  if (counted) card.querySelector("[data-attachments-count]").textContent = counted.dataset.count;
}

async function take(form, files) {
  const card = form.closest("[data-attachments]");
  card.querySelectorAll("[data-uploads] .text-danger").forEach((said) => said.parentElement.remove());
  const waiting = files.map((file) => [file, line(card, file)]);
  for (const [file, item] of waiting) {
    if (file.size > card.dataset.largest * MB) {
      refuse(item, `文件有 ${Math.round(file.size / MB)} MB，超过上限 ${card.dataset.largest} MB。`);
    } else {
      await send(form, file, item);
    }
  }
  await refresh(card);
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("[data-attach]");
  if (!form || event.target.type !== "file") return;
  const files = [...event.target.files];
  event.target.value = "";
  if (files.length) take(form, files);
});

for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    const card = event.target instanceof Element && event.target.closest("[data-attachments]");
    const form = card && card.querySelector("[data-attach]");
    if (!form || !event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    card.classList.toggle("border-primary", type === "dragenter" || type === "dragover");
    if (type === "drop") take(form, [...event.dataTransfer.files]);
  });
}
