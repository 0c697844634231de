package confsync

import "testing"

func TestGuard(t *testing.T) {
	for _, c := range []struct {
		name, limit    string
		old, new, gone int
		before         int // files that other paths lose
		refused        bool
	}{
		{"nothing goes", "0%", 10, 10, 0, 0, false},
		{"none may go", "0%", 10, 9, 1, 0, true},
		{"none may go, as a number", "0", 10, 9, 1, 0, true},
		{"one may always go of a part", "1%", 2, 1, 1, 0, false},
		{"a quarter of eight", "25%", 8, 6, 2, 0, false},
		{"more than a quarter of eight", "25%", 8, 5, 3, 0, true},
		{"a part is one of each path", "25%", 8, 6, 2, 100, false},
		{"ten of a thousand", "10", 1000, 990, 10, 0, false},
		{"eleven of a thousand", "10", 1000, 989, 11, 0, true},
		{"a number is one of all paths", "10", 1000, 995, 5, 6, true},
		{"all, but others come", "100%", 5, 5, 5, 0, false},
		{"all", "100%", 5, 0, 5, 0, true},
		{"all, by number", "5", 5, 0, 5, 0, true},
		{"empty over empty", "0", 0, 0, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, byCount, err := ParseMaxDelete(c.limit)
			if err != nil {
				t.Fatal(err)
			}
			job := Job{MaxDelete: n, ByCount: byCount}
			here := Changes{Old: c.old, New: c.new, Deleted: c.gone}
			err = guard(job, "/p/", here, here.plus(Changes{Deleted: c.before}))
			if (err != nil) != c.refused || job.maxDelete() != c.limit {
				t.Errorf("max_delete = %s: %v", job.maxDelete(), err)
			}
		})
	}
}

func FuzzMaxDelete(f *testing.F) {
	for _, s := range []string{"25%", "25 %", "0", "101%", "-1", "+1", "1e3", " 1", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, byCount, err := ParseMaxDelete(s)
		if err != nil && (n != 0 || byCount) || n < 0 || !byCount && n > 100 {
			t.Fatalf("%q: %d, %v, %v", s, n, byCount, err)
		}
		if err != nil {
			return
		}
		if m, by, err := ParseMaxDelete(Job{MaxDelete: n, ByCount: byCount}.maxDelete()); m != n || by != byCount || err != nil {
			t.Errorf("%q comes back as %d, %v, %v", s, m, by, err)
		}
	})
}
