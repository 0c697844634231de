package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestACommandLineByPaths(t *testing.T) {
	files := map[int]string{4: "/c/rec", 5: "/c/rec.log", 6: "/c/qmp", 7: "/srv/vmlinuz", 8: "/srv/a.qcow2", 9: "/srv/a.qcow2"}
	argv := strings.Fields("qemu -S -pidfile /run/p -sandbox on,spawn=deny -add-fd fd=5,set=5 -chardev socket,id=rec,fd=4,logfile=/dev/fdset/5,logappend=on " +
		"-chardev socket,id=qmp,fd=6,server=on,wait=off -kernel /proc/self/fd/7 -blockdev driver=file,filename=/dev/fdset/8 -netdev tap,id=net0,fd=10 -display none")
	want := strings.Fields("qemu -chardev socket,id=rec,path=/c/rec,server=on,wait=off,logfile=/c/rec.log,logappend=on " +
		"-chardev socket,id=qmp,path=/c/qmp,server=on,wait=off -kernel /srv/vmlinuz -blockdev driver=file,filename=/srv/a.qcow2 " +
		"-netdev tap,id=net0,ifname=t0,script=no,downscript=no -display none -pidfile /c/p -daemonize")
	if d := cmp.Diff(want, byPath(argv, files, "t0", "/c/p")); d != "" {
		t.Error(d)
	}
}
