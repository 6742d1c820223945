"""The timetable of oversight, and the jobs that its pages start."""

from procrastinate.contrib.django import app

from jingwei.base import chain
from jingwei.desk.tasks import KINDS, Kind, schedule
from jingwei.oversight import alarms, copies, erasing, forgetting, rotating, verifying

KINDS[rotating.KIND] = Kind(rotating.LABEL, rotating.work)
KINDS[forgetting.JOB] = Kind("删除个人信息", forgetting.carry_out)
# 03:15 in China, after what the night works out of the data of yesterday.
schedule("erase-expired", "清理到期数据", erasing.erase_expired, "15 19 * * *")
# In China at 00:20, when all rows of yesterday are sealed; at 03:30 and 03:40.
schedule("copy-log", "保存操作日志副本", verifying.copy_job, "20 16 * * *")
schedule(verifying.JOB, verifying.LABEL, verifying.verify_job, "30 19 * * *")
schedule("drop-log", "清理过期的操作日志", verifying.drop_job, "40 19 * * *")


@app.periodic(cron="* * * * *")
@app.task(name="oversight.seal_log", queueing_lock="oversight.seal_log")
def seal_log(timestamp):
    """Seal the rows of the last minute, raise the alarms they give reason for, note the seals elsewhere."""
    chain.seal()
    alarms.watch()
    copies.note_seals()
