package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"kvmctl/test/drbdlab"
)

// stage is two fresh guests with a file system on r0, the service on both, and a contender that serves on A.
type stage struct {
	*drbdlab.Lab
	b      *bench
	c      *contender
	facts  map[*drbdlab.Guest]*facts
	agents *drbdlab.Agents // kvmha's; nil: the others
	cancel context.CancelFunc
}

// prepare makes Debian's tree ready for chroot, and the directories of all contenders.
const prepare = `mkdir -p /deb /srv /var/lock /run/lock
mount -t ext4 /dev/vdc /deb
for d in proc sys dev run; do mount -o bind /$d /deb/$d; done
mkdir -p /dev/shm && mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount -o bind /dev/shm /deb/dev/shm
mount -t tmpfs -o mode=1777 tmpfs /deb/tmp
cp /etc/drbd.conf /deb/etc/drbd.conf
cp /bin/pdu /deb/usr/sbin/fence_pdu
mkdir -p /deb/srv`

// file makes the file system that is served, on the node that is to be active.
const file = `drbdadm primary r0; mkfs.ext4 -q /dev/drbd0; mount -t ext4 /dev/drbd0 /srv; : >/srv/lines; umount /srv; drbdadm secondary r0`

// stage boots a lab for a contender; close ends it.
func (b *bench) stage(ctx context.Context, c *contender) (s *stage, err error) {
	ctx, cancel := context.WithCancel(ctx)
	lab, err := drbdlab.NewWith(ctx, drbdlab.Options{
		Files:  map[string][]byte{"/bin/kvmha": b.kvmha, "/bin/lines": b.lines, "/bin/pdu": []byte(drbdlab.PDU)},
		Memory: 512, Image: b.o.inside, TAPs: [2]string{tapA, tapB},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	s = &stage{Lab: lab, b: b, c: c, facts: map[*drbdlab.Guest]*facts{}, cancel: cancel}
	defer func() {
		if err != nil {
			s.explain(err)
			s.close()
		}
	}()
	if err := part(false); err != nil {
		return nil, err
	}
	if err := s.Replicate(ctx, c.drbd); err != nil {
		return nil, err
	}
	if err := s.Both(func(g *drbdlab.Guest) error { _, err := g.Sh(ctx, prepare); return err }); err != nil {
		return nil, err
	}
	if _, err := s.A.Sh(ctx, file); err != nil {
		return nil, err
	}
	for _, g := range []*drbdlab.Guest{s.A, s.B} {
		if _, err := g.Sh(ctx, "(while :; do /bin/lines serve /srv /deb/srv; sleep 0.1; done) </dev/null >/dev/null 2>&1 &"); err != nil {
			return nil, err
		}
		s.facts[g] = follow(ctx, g)
	}
	if c.start == nil {
		return s, nil
	}
	if err := c.start(ctx, s); err != nil {
		return nil, err
	}
	return s, s.settled(ctx, s.A)
}

// settled waits until a node serves and the other one is ready to.
func (s *stage) settled(ctx context.Context, active *drbdlab.Guest) error {
	ctx, cancel := context.WithTimeout(ctx, s.c.patience)
	defer cancel()
	other := s.other(active)
	is := func() bool {
		a, o := s.facts[active], s.facts[other]
		return a.is("primary") && a.is("mounted") && a.is("address") && !o.is("primary") && !o.is("mounted") && !o.is("address")
	}
	if err := until(ctx, active.Name+" serves, and only it", is); err != nil {
		return err
	}
	if err := s.UpToDate(ctx); err != nil {
		return err
	}
	return s.c.ready(ctx, s, active)
}

func (s *stage) other(g *drbdlab.Guest) *drbdlab.Guest {
	if g == s.A {
		return s.B
	}
	return s.A
}

// explain shows what the guests have written when a run has failed.
func (s *stage) explain(err error) {
	if !s.b.o.keep || errors.Is(err, context.Canceled) {
		return
	}
	say("%s: %v", s.c.name, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, g := range []*drbdlab.Guest{s.A, s.B} {
		text, err := g.Sh(ctx, s.c.logs+"; cat /proc/drbd; dmesg | tail -25; ps | grep -v '\\[' | tail -30")
		fmt.Fprintf(os.Stderr, "%s: %v\n%s%v\n", g.Name, err, text, s.facts[g])
	}
}

func (s *stage) close() {
	s.cancel()
	if s.agents != nil {
		s.agents.Close()
		return
	}
	s.Close()
}

// file reads what a node has: where it is not mounted, from DRBD's own disk, whose file system begins at the beginning (its metadata are at the end).
func (s *stage) file(ctx context.Context, g *drbdlab.Guest) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second) // writes may be frozen
	defer cancel()
	if s.facts[g].is("mounted") {
		return g.Sh(ctx, "cat "+s.c.dir+"/lines")
	}
	return g.Sh(ctx, "debugfs -c -R 'cat /lines' /dev/vda 2>/dev/null")
}

// client begins to write to the service.
func (s *stage) client(ctx context.Context, to string) (*client, func(), error) {
	s.b.clients++
	ctx, cancel := context.WithCancel(ctx)
	c, err := newClient(ctx, fmt.Sprintf("%d.", s.b.clients), to)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return c, func() { cancel(); <-c.ended }, nil
}
