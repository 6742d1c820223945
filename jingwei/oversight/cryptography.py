"""The page for the cryptography check: what is sealed how, under which keys, their rotation (SEC-15, P-4.7).

It shows algorithms, ids and counts, never a key.
"""

from itertools import groupby

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jingwei.base import audit, crypto, rotation
from jingwei.base.models import Job, KeyRotation
from jingwei.base.resource import Page
from jingwei.base.wall import beyond_scope
from jingwei.desk import jobs
from jingwei.oversight import rotating

NAME = "cryptography"
# Name, standard, what for.
ALGORITHMS = [
    (
        "SM4-SIV",
        "GB/T 32907-2016，RFC 5297 结构",
        "数据库中的个人信息：证件号、电话、地址、口令等；用主密钥保护密钥环",
    ),
    ("SM4-GCM", "GB/T 32907-2016，GB/T 36624-2018", "上传、导出的文件和附件，每个文件一把密钥"),
    ("SM4-CMAC", "GB/T 32907-2016，GB/T 15852.1-2020", "姓名和地址的检索、重复数据的识别、场所码的防伪"),
    (
        "HMAC-SM3",
        "GB/T 32905-2016，GB/T 15852.2-2012",
        "操作日志的完整性；由密钥派生各用途的密钥（SP 800-108）",
    ),
    ("PBKDF2-HMAC-SM3", "GB/T 32905-2016，RFC 8018", "操作员的口令"),
    ("SM3", "GB/T 32905-2016", "文件和备份的摘要"),
]
LATEST = 10


@require_GET
def show(request):
    """Algorithms and their use, provider, keys with what they protect, self-test, rotations."""
    with beyond_scope():
        running, total = rotation.running(), rotation.estimate()
        provider = crypto.provider()
        left = max(total - running.moved, 0) if running else 0
        counts = {key_id: 0 for key_id in provider.key_ids}
        counts[provider.key_id] = total - left
        if running and running.old_key in counts:
            counts[running.old_key] += left
        context = {
            "algorithms": ALGORITHMS,
            "provider": f"{type(provider).__module__}.{type(provider).__qualname__}",
            "current": provider.key_id,
            "keys": counts,
            "old": provider.key_ids[1:],
            "test": crypto.last_self_test,
            "running": running,
            "job": _job(),
            "rotations": KeyRotation.objects.exclude(ended_at=None)[:LATEST],
            "tables": _tables(),
        }
        return render(request, "oversight/cryptography.html", context)


def _tables():
    """(table in words, [(column in words, whether it can be searched)]) of what is stored sealed."""
    named = [(*place.label.split("：", 1), place.sealing.searchable) for place in rotation.places()]
    return [
        (table, [(column, searchable) for _, column, searchable in found])
        for table, found in groupby(named, lambda place: place[0])
    ]


def _job():
    return Job.objects.filter(kind=rotating.KIND, state__in=(Job.WAITING, Job.RUNNING)).first()


@require_POST
def test(request):
    """Have the algorithms answer known questions now."""
    try:
        crypto.self_test()
    except crypto.SelfTestFailed as failed:
        audit.record(request.actor, "密码自检", resource=NAME, result="失败", reason=str(failed))
        messages.error(request, "自检没有通过，请立即停止使用并联系系统管理员。")
    else:
        audit.record(request.actor, "密码自检", resource=NAME)
        messages.success(request, "自检通过。")
    return redirect("desk:cryptography")


@require_http_methods(["GET", "POST"])
def rotate(request):
    """Say what a rotation does, and start it or go on with it in the background."""
    with beyond_scope():
        if _job():
            messages.info(request, "密钥轮换正在进行，完成后在这里显示。")
            return redirect("desk:cryptography")
        running, old = rotation.running(), crypto.provider().key_ids[1:]
        if request.method == "POST" and (running or not old):
            jobs.start(request.actor, rotating.KIND, rotating.LABEL, {})
            messages.success(request, "已开始密钥轮换，不影响使用；进度在后台任务中显示。")
            return redirect("desk:cryptography")
        context = {"running": running, "old": [] if running else old, "total": rotation.estimate()}
    return render(request, "oversight/rotate.html", context)


PAGES = [
    Page(NAME, "密码应用", f"{NAME}.manage", [("", show), ("test/", test), ("rotate/", rotate)], icon="key")
]
