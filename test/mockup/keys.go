package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"kvmctl/ha"
	"kvmctl/ha/peer"
)

var keysLock sync.Mutex // of the directory

// keys gives the files by which an agent has its own key and knows the others', as after "kvmha pair" with each, by their path on its node. The keys are
// kept below dir.
func keys(dir, own string, others ...string) (map[string][]byte, error) {
	keysLock.Lock()
	defer keysLock.Unlock()
	for _, name := range append([]string{own}, others...) {
		if _, err := peer.CreateIdentity(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	own = filepath.Join(dir, own)
	for _, name := range others {
		id, err := peer.LoadIdentity(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if err := peer.SavePin(own, name, peer.Pin{Key: id.Public()}); err != nil {
			return nil, err
		}
	}
	all, err := os.ReadDir(own)
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	files := map[string][]byte{}
	for _, f := range all {
		if !f.Type().IsRegular() {
			continue
		}
		if files[filepath.Join(ha.StateDir, peer.Dir, f.Name())], err = os.ReadFile(filepath.Join(own, f.Name())); err != nil {
			return nil, fmt.Errorf("read a key: %w", err)
		}
	}
	return files, nil
}
