"""What runs at night: the files are compared with their digests."""

from jingwei.desk.tasks import schedule
from jingwei.running import integrity

schedule("verify-files", "校验程序文件", integrity.verify_files, "5 18 * * *")
