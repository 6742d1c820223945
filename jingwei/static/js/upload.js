// The upload of a file: dropped or chosen, refused at once when it is too big, with its progress.

const MB = 1024 * 1024;

function part(form, name) {
  return form.querySelector(`[data-${name}]`);
}

function chosen(form) {
  const file = form.elements.file.files[0];
  const refusal = part(form, "refusal");
  const tooBig = file && file.size > form.dataset.largest * MB;
  refusal.hidden = !tooBig;
  if (tooBig) {
    refusal.textContent = `文件有 ${Math.round(file.size / MB)} MB，超过上限 ${form.dataset.largest} MB。请拆成几个文件分别导入。`;
  }
  part(form, "chosen").textContent = file ? file.name : "也可以把文件拖到这里";
  form.querySelector("button").disabled = Boolean(tooBig);
}

function uploadAt(event) {
  return event.target instanceof Element ? event.target.closest("[data-upload]") : null;
}

document.addEventListener("change", (event) => {
  if (event.target.name === "file" && uploadAt(event)) chosen(uploadAt(event));
});

for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    const form = uploadAt(event);
    if (!form) return;
    event.preventDefault();
    const zone = part(form, "drop");
    zone.classList.toggle("border-primary", type === "dragenter" || type === "dragover");
    if (type === "drop" && event.dataTransfer.files.length) {
      form.elements.file.files = event.dataTransfer.files;
      chosen(form);
    }
  });
}

document.addEventListener("htmx:xhr:progress", (event) => {
  const form = uploadAt(event);
  if (!form || !event.detail.lengthComputable) return;
  const progress = part(form, "progress");
  progress.hidden = false;
  progress.value = (100 * event.detail.loaded) / event.detail.total;
  if (event.detail.loaded === event.detail.total) {
    part(form, "chosen").textContent = "已上传，正在检查……";
  }
});

document.addEventListener("htmx:sendError", (event) => {
  const form = uploadAt(event);
  if (!form) return;
  part(form, "progress").hidden = true;
  const refusal = part(form, "refusal");
  refusal.hidden = false;
  refusal.textContent = "上传中断，请检查网络后再试一次。";
});
