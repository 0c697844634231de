package netbridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// Before is how an interface was before a change, as it takes to bring it back.
type Before struct {
	Name     string    `json:"name"`
	Exists   bool      `json:"exists"` // with false the rest is empty
	Link     Link      `json:"link,omitzero"`
	Holdings []Holding `json:"holdings"`
}

// Touched gives the interfaces that steps change, each once.
func Touched(steps []Step) []string {
	var names []string
	for _, s := range steps {
		for _, n := range s.links() {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names
}

// Remember reads how interfaces are, there or not.
func Remember(ctx context.Context, k Kernel, names []string) ([]Before, error) {
	links, err := k.Links(ctx)
	if err != nil {
		return nil, err
	}
	var out []Before
	for _, name := range names {
		l, exists := find(links, name)
		b := Before{Name: name, Exists: exists, Link: l}
		if exists {
			if b.Holdings, err = k.Holdings(ctx, l.Name); err != nil {
				return nil, err
			}
		}
		out = append(out, b)
	}
	return out, nil
}

// restoreTries bounds how often what an interface has is looked at anew: giving and taking one thing makes the kernel give or take
// others.
const restoreTries = 5

// Restore brings interfaces back to how they were some time ago, wherever a change, or an earlier Restore, was broken off. It goes on
// past what fails; the error tells of all. An interface of the host's that is gone by now is passed over. A bridge that was not there
// is deleted, or, if a guest hangs on it by now, is left without what the host had given it.
func Restore(ctx context.Context, k Kernel, before []Before, ago time.Duration) error {
	r := restorer{k: k, ago: ago}
	for _, b := range before {
		r.note(r.remake(ctx, b))
	}
	for _, b := range before {
		r.note(r.attributes(ctx, b))
	}
	for _, b := range before {
		r.note(r.unmake(ctx, b))
	}
	// All is taken before anything is given, for two interfaces should not have the same route.
	for _, giving := range []bool{false, true} {
		for _, b := range before {
			r.note(r.holdings(ctx, b, giving))
		}
	}
	return errors.Join(r.errs...)
}

type restorer struct {
	k    Kernel
	ago  time.Duration
	errs []error
}

func (r *restorer) note(err error) {
	if err != nil {
		r.errs = append(r.errs, err)
	}
}

// now looks an interface up.
func (r *restorer) now(ctx context.Context, name string) (Link, bool, error) {
	links, err := r.k.Links(ctx, name)
	if err != nil || len(links) == 0 {
		return Link{}, false, err
	}
	return links[0], true, nil
}

// remake makes a bridge of ours that is gone.
func (r *restorer) remake(ctx context.Context, b Before) error {
	_, there, err := r.now(ctx, b.Name)
	if err != nil || there || !b.Exists || b.Link.Kind != KindBridge || !b.Link.Ours() {
		return err
	}
	if err := r.k.CreateBridge(ctx, b.Name, b.Link.MAC); err != nil {
		return err
	}
	return r.k.SetAlias(ctx, b.Name, b.Link.Alias)
}

// attributes sets what is not as it was.
func (r *restorer) attributes(ctx context.Context, b Before) error {
	l, there, err := r.now(ctx, b.Name)
	if err != nil || !there || !b.Exists {
		return err
	}
	was := b.Link
	var errs []error
	set := func(differs bool, do func() error) {
		if differs {
			errs = append(errs, do())
		}
	}
	set(l.Master != was.Master, func() error { return r.k.SetMaster(ctx, b.Name, was.Master) })
	set(l.MAC != was.MAC, func() error { return r.k.SetMAC(ctx, b.Name, was.MAC) })
	set(l.MTU != was.MTU, func() error { return r.k.SetMTU(ctx, b.Name, was.MTU) })
	if was.Kind == KindBridge {
		set(l.Alias != was.Alias, func() error { return r.k.SetAlias(ctx, b.Name, was.Alias) })
		set(l.STP != was.STP, func() error { return r.k.SetSTP(ctx, b.Name, was.STP) })
		set(l.VLANFiltering != was.VLANFiltering, func() error { return r.k.SetVLANFiltering(ctx, b.Name, was.VLANFiltering) })
	}
	set(l.Up != was.Up, func() error { return r.k.SetUp(ctx, b.Name, was.Up) })
	return errors.Join(errs...)
}

// unmake deletes a bridge that was not there.
func (r *restorer) unmake(ctx context.Context, b Before) error {
	if b.Exists {
		return nil
	}
	links, err := r.k.Links(ctx)
	if err != nil {
		return err
	}
	l, there := find(links, b.Name)
	if !there || l.Kind != KindBridge || !l.Ours() && l.Alias != "" || len(portsOf(links, b.Name)) > 0 {
		return nil
	}
	return r.k.DeleteBridge(ctx, b.Name)
}

// holdings takes what an interface did not have, or gives what it had, until nothing is left to do.
func (r *restorer) holdings(ctx context.Context, b Before, giving bool) error {
	var last error
	for range restoreTries {
		if _, there, err := r.now(ctx, b.Name); err != nil || !there {
			return err
		}
		have, err := r.k.Holdings(ctx, b.Name)
		if err != nil {
			return err
		}
		take, give := reconcile(have, b.Holdings)
		if !giving {
			give = nil
		}
		if len(take) == 0 && len(give) == 0 {
			return nil
		}
		var errs []error
		for _, h := range take {
			if err := r.k.Take(ctx, b.Name, h); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		for _, h := range give {
			if err := r.k.Give(ctx, b.Name, h.aged(r.ago), false); err != nil && !errors.Is(err, fs.ErrExist) {
				errs = append(errs, err)
			}
		}
		if last = errors.Join(errs...); last == nil {
			last = fmt.Errorf("%q is not as it was after %d attempts: it has too much (%s) and lacks (%s)", b.Name, restoreTries, some(take), some(give))
		}
	}
	return last
}
