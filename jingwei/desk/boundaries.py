"""The boundaries of all regions at once: a GeoJSON file in, the map that follows from it below (P-1.1)."""

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.shortcuts import redirect, render

from jingwei.base.resource import Page
from jingwei.desk import basemap
from jingwei.desk.forms import dress
from jingwei.directory.models import Region
from jingwei.directory.region_actions import outline_regions
from jingwei.kit.coordinates import SYSTEMS


class BoundariesForm(forms.Form):
    """A file, and how to read it."""

    file = forms.FileField(label="GeoJSON 文件", widget=forms.FileInput({"accept": ".geojson,.json"}))
    key = forms.CharField(
        label="区划代码的属性名", initial="code", max_length=60, help_text="每个要素中存放区划代码的属性"
    )
    system = forms.ChoiceField(label="坐标系", choices=[(name, name) for name in SYSTEMS])

    def __init__(self, *args):
        super().__init__(*args)
        dress(self)

    def clean_file(self):
        try:
            return self.cleaned_data["file"].read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValidationError("文件不是 UTF-8 编码的文本，请另存为 UTF-8 编码的 GeoJSON") from None


def boundaries(request):
    """Load a file of boundaries; see which regions have one."""
    form = BoundariesForm(request.POST or None, request.FILES or None)
    if form.is_valid():
        told = form.cleaned_data
        try:
            number = outline_regions(request.actor, told["file"], system=told["system"], key=told["key"])
        except ValidationError as refusal:
            form.add_error("file", refusal)
        else:
            messages.success(request, f"已设置 {number} 个区划的边界")
            return redirect(request.path)
    used = Region.objects.visible_to(request.actor, "regions.outline").filter(enabled=True)
    without = used.filter(boundary__isnull=True, code__regex=r"^.{6,12}$").order_by("code")
    context = {"form": form, "without": without.values_list("code", "name")}
    return render(request, "desk/boundaries.html", context)


PAGES = [
    Page(
        "boundaries",
        "区划边界",
        "regions.outline",
        [("", boundaries), ("basemap.json", basemap.basemap)],
        "map",
    )
]
