package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
	"kvmctl/vm/image"
)

// deletePlan is what a delete is going to do.
type deletePlan struct {
	images []string // to be deleted, sorted; among them the UEFI variables
	disks  []string // the guest's disks, wherever they are
	seed   string   // what it was told at its installation, to be deleted; "": there is none, or it stays
	again  bool     // the guest is no more: only its remnants are left
}

// planDelete decides what goes, and refuses what must not go.
func (a *app) planDelete(ctx context.Context, o deleteOptions) (*deletePlan, *configs.Site, error) {
	s, err := a.site(ctx)
	if err != nil {
		return nil, nil, err
	}
	l := a.layout()
	spec, err := doomed(s, l, o.name)
	if err != nil {
		return nil, nil, err
	}
	if err := l.CheckHold(o.name); err != nil { // with the guest the word would go that it has to stay down
		return nil, nil, err
	}
	plan := &deletePlan{again: spec == nil}
	folder := l.GuestLibDir(o.name)
	var own []imageUse
	switch {
	case spec != nil:
		own = usesOf(ctx, spec)
		for _, d := range spec.Disks {
			plan.disks = append(plan.disks, d.Image)
		}
	case o.disks || len(o.images) > 0: // an earlier delete took vm.toml away: what lies in the folder is all that can be known
		own = imagesIn(folder, o.name)
	}
	if o.disks {
		for _, use := range own {
			for _, path := range use.links {
				if inside(folder, path) {
					plan.images = append(plan.images, path)
				}
			}
		}
		if present(l.NVRAM(o.name)) {
			plan.images = append(plan.images, l.NVRAM(o.name))
		}
	}
	for _, path := range o.images {
		if err := ownImage(own, o.name, path); err != nil {
			return nil, nil, err
		}
		plan.images = append(plan.images, path)
	}
	slices.Sort(plan.images)
	plan.images = slices.Compact(plan.images)
	plan.seed = ownSeed(seedFile(l, o.name), plan, imageUses(ctx, s, o.name))
	if len(plan.images) == 0 {
		return plan, s, nil
	}
	if err := spared(plan.images, o.name, append(imageUses(ctx, s, o.name), own...)); err != nil {
		return nil, nil, err
	}
	for _, path := range plan.images {
		if symlink(path) { // the link goes, what it leads to stays
			if to, err := filepath.EvalSymlinks(path); err == nil {
				plan.disks = append(plan.disks, to)
			}
		}
	}
	return plan, s, nil
}

// ownSeed gives the seed of a guest if it goes with it, as it must: passwords may be in it. One that is a disk of the guest's stays as its
// disks do, and one that another guest has, or may have, is not ours to take.
func ownSeed(path string, plan *deletePlan, others []imageUse) string {
	stays := func(u imageUse) bool {
		return u.err != nil || slices.ContainsFunc(u.links, func(link string) bool { return isFile(path, link) })
	}
	if !present(path) || slices.Contains(plan.images, path) || slices.ContainsFunc(others, stays) ||
		slices.ContainsFunc(plan.disks, func(disk string) bool { return isFile(path, disk) }) {
		return ""
	}
	return path
}

// doomed gives the guest to delete as its file describes it: vm.toml, or what an interrupted delete made of it; nil when there is
// neither and only remnants are left.
func doomed(s *configs.Site, l vm.Layout, name string) (*vm.Spec, error) {
	g, unknown := s.Guest(name)
	if unknown == nil {
		return &g.Spec, nil
	}
	text, err := os.ReadFile(l.GuestTomlDeleted(name))
	if err == nil {
		spec, _ := configs.ParseGuest(l.GuestToml(name), name, text, s.Host)
		return &spec, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if present(l.GuestLibDir(name)) || present(l.RunDir(name)) {
		return nil, nil
	}
	return nil, cli.Failed(nearGuest(unknown), "%w", unknown)
}

// unused proves that no process has one of the images open.
func (p *deletePlan) unused(ctx context.Context) error {
	for _, path := range p.images {
		if symlink(path) {
			continue
		}
		if err := image.CheckUnlocked(ctx, path, true); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func symlink(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode()&fs.ModeSymlink != 0
}

func present(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// imageUse is an image that a guest has, with all that it is based on.
type imageUse struct {
	guest string
	links []string // paths, the image itself first
	err   error    // why the rest of the chain is not known
}

// imageUses gives the images of all guests but one.
func imageUses(ctx context.Context, s *configs.Site, but string) []imageUse {
	var all []imageUse
	for _, g := range s.Guests {
		if g.Spec.Name == but {
			continue
		}
		if g.Broken {
			all = append(all, imageUse{guest: g.Spec.Name, err: errors.New("its vm.toml is broken")})
		}
		all = append(all, usesOf(ctx, &g.Spec)...)
	}
	return all
}

func usesOf(ctx context.Context, spec *vm.Spec) []imageUse {
	var all []imageUse
	for _, d := range spec.Disks {
		use := imageUse{guest: spec.Name, links: []string{d.Image}}
		links, err := image.Chain(ctx, d.Image, d.Format)
		switch {
		case err == nil:
			use.links = nil
			for _, link := range links {
				use.links = append(use.links, link.Path)
			}
		case present(d.Image): // one that is not there uses nothing
			use.err = err
		}
		all = append(all, use)
	}
	for _, c := range spec.CDROMs {
		if c.Image != "" {
			all = append(all, imageUse{guest: spec.Name, links: []string{c.Image}})
		}
	}
	return all
}

// over reports whether the image is based on the file at path.
func (u imageUse) over(path string) bool {
	return len(u.links) > 1 && slices.ContainsFunc(u.links[1:], func(link string) bool { return isFile(path, link) })
}

// isFile reports whether name leads to the very file at path. Where path itself is a symbolic link, that link counts, not its end.
func isFile(path, name string) bool {
	st, err := os.Lstat(path)
	if err != nil {
		return path == name
	}
	look := os.Stat
	if symlink(path) {
		look = os.Lstat
	}
	other, err := look(name)
	return err == nil && os.SameFile(st, other)
}

// spared refuses to delete an image that something which stays needs: another guest, or what the guest itself keeps.
func spared(images []string, name string, uses []imageUse) error {
	for _, use := range uses {
		top := ""
		if len(use.links) > 0 {
			top = use.links[0]
		}
		if use.guest == name && slices.Contains(images, top) { // it goes itself
			continue
		}
		for _, path := range images {
			for i, link := range use.links {
				switch {
				case !isFile(path, link):
				case i == 0:
					return cli.Refused("kvmctl show "+use.guest, "%s is an image of %s too", path, use.guest)
				default:
					return cli.Refused("kvmctl image info "+use.guest, "the image %s of %s is based on %s", top, use.guest, path)
				}
			}
		}
		if use.err != nil {
			return cli.Refused("kvmctl check "+use.guest, "it is not known which images %s needs: %w", use.guest, use.err)
		}
	}
	return nil
}

// ownImage proves that --image names an image of the guest's, and a plain file.
func ownImage(own []imageUse, name, path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("--image: %w", err)
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		to, err := filepath.EvalSymlinks(path)
		if err != nil {
			return fmt.Errorf("--image: %w", err)
		}
		return cli.Refused("--image "+to, "--image: %s is a symbolic link", path)
	}
	if !st.Mode().IsRegular() {
		return cli.Refused("", "--image: %s is not a plain file", path)
	}
	for _, use := range own {
		if slices.ContainsFunc(use.links, func(link string) bool { return isFile(path, link) }) {
			return nil
		}
	}
	return cli.Refused("kvmctl image info "+name, "--image: %s is none of its images", path)
}

// imagesIn gives the files in a guest's folder that are images by their name.
func imagesIn(folder, guest string) []imageUse {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	var all []imageUse
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".qcow2" || ext == ".raw" || ext == ".img" {
			all = append(all, imageUse{guest: guest, links: []string{filepath.Join(folder, e.Name())}})
		}
	}
	return all
}

// inside reports whether path is an entry below folder without a way out: neither "..", nor a symbolic link on the way.
func inside(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return false
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		st, err := os.Lstat(dir)
		if err != nil || !st.IsDir() {
			return false
		}
		if dir == folder || !strings.HasPrefix(dir, folder) {
			return present(path)
		}
	}
}
