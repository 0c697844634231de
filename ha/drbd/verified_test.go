package drbd

import "testing"

// What two guests with DRBD 8.4.11 wrote, and what 9 would.
func TestReadCompared(t *testing.T) {
	const (
		began  = "[   70.329772] block drbd0: Starting Online Verify from sector 0\n"
		target = "[   50.163124] block drbd0: Online Verify start sector: 0\n"
		done   = "[   34.581857] block drbd0: Online verify done (total 5 sec; paused 0 sec; 13096 K/sec)\n"
		found  = "[   39.712458] block drbd0: Online verify found 2 4k block out of sync!\n"
		broken = "[   74.025980] block drbd0: Online Verify reached sector 25296\n"
		rest   = "[   56.253880] block drbd0: Starting Online Verify from sector 33456\n"
		nine   = "drbd r0/0 drbd0 vm-varda: "
	)
	one := Resource{Name: "r0", Volumes: []Volume{{}}}
	two := Resource{Name: "r0", Volumes: []Volume{{}, {Number: 1, Minor: 1}}}
	for _, c := range []struct {
		name, log string
		r         Resource
		want      Comparison
	}{
		{"nothing", "", one, NotTold},
		{"no volume", began + done, Resource{Name: "r0"}, NotTold},
		{"it runs", began, one, UnderWay},
		{"to its end", began + done, one, Whole},
		{"to its end, at the target", target + done, one, Whole},
		{"something was found", began + done + found, one, Whole},
		{"broken off", began + broken, one, Partial},
		{"broken off, and the rest later", began + broken + rest + done, one, Partial},
		{"broken off, and from the start later", began + broken + began + done, one, Whole},
		{"the one before came to its end", began + done + began + broken, one, Partial},
		{"another one runs", began + done + began, one, UnderWay},
		{"the log begins in its middle", done, one, Whole},
		{"another disk", "block drbd7: Online verify done (total 5 sec)\n", one, NotTold},
		{"a resync", "block drbd0: Resync done (total 5 sec; paused 0 sec; 13096 K/sec)\n", one, NotTold},
		{"one of two", began + done, two, NotTold},
		{"one of two broken off", began + broken, two, Partial},
		{"one of two runs", began + done + "block drbd1: Starting Online Verify from sector 0\n", two, UnderWay},
		{"two", began + "block drbd1: Starting Online Verify from sector 0\n" + done + "block drbd1: Online verify done (total 9 sec)\n", two, Whole},
		{"DRBD 9", nine + "Starting Online Verify from sector 0\n" + nine + "Online verify done (total 5 sec)\n", one, Whole},
		{"DRBD 9 left blocks out", nine + "Online verify done but 3 4k blocks skipped (total 5 sec)\n", one, Partial},
		{"DRBD 9 aborted", nine + "Online verify aborted (total 5 sec)\n", one, Partial},
		{"records of /dev/kmsg", "6,339,5140900,-;block drbd0: Online Verify reached sector 8\n", one, Partial},
	} {
		if got := ReadCompared([]byte(c.log), c.r); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzReadCompared(f *testing.F) {
	seeds(f, "log")
	f.Add([]byte("block drbd0: Starting Online Verify from sector 0\ndrbd r0/1 drbd1 x: Online verify done but 3 4k blocks skipped\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		two := Resource{Name: "r0", Volumes: []Volume{{}, {Number: 1, Minor: 1}}}
		both := ReadCompared(data, two)
		for i := range two.Volumes {
			if each := ReadCompared(data, Resource{Name: "r0", Volumes: two.Volumes[i : i+1]}); both == Whole && each != Whole {
				t.Fatalf("volume %d is %v, and both are whole", i, each)
			}
		}
	})
}
