package agentcmd

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/create"
)

type initOptions struct {
	resource string
	wish     create.Wish
	json     bool
	dry      bool
}

func newDRBDInit(a *app) *cobra.Command {
	o := &initOptions{}
	data := ""
	cmd := &cobra.Command{
		Use:   "init <resource> --data here|peer|none",
		Short: "Make a new resource usable: its metadata, and whose data it begins with",
		Long: `Make a resource of drbd.conf usable for the first time, and tell each step. It looks first, and does what is missing: what was done before, or by hand, is
neither done again nor undone, and a run that was killed is finished by the next one.

  --data none   both disks are blank: nothing is copied. Typed on both nodes.
  --data here   what is on this node's disk stays, and is copied to the peer. Metadata inside the disk need some room at its end: where a file system
                leaves none it is said how far it has to shrink, and what has an end that nobody can tell (LUKS, LVM, partitions, btrfs) is refused.
  --data peer   what is on this node's disk is overwritten by what the peer has.

It refuses a disk that is in use, one on which something is found unless it is to stay or --yes is given, and to overwrite good data of the peer's.
Metadata of DRBD's that are there are never made anew. The node is not left primary. Blocks that nobody has written since --data none may differ from
node to node, and "kvmha drbd verify" tells of them. --dry-run prints what would be executed here, as if the peer were there with a blank disk.

Exit code 0 when nothing is left to do here, 3 when it refuses, 2 when drbd.conf does not have the resource for this host, 1 when a step fails.

--json prints resource, done (the commands of this run; with --dry-run of the next), what (how it stands), next (what to type, a list).`,
		Example: `  kvmha drbd init r0 --data none
  kvmha drbd init r0 --data here --dry-run
  kvmha drbd init r0 --data peer --yes`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			o.resource, o.wish.Data = words[0], create.Data(data)
			if !slices.Contains([]create.Data{create.Unsaid, create.Here, create.Peer, create.None}, o.wish.Data) {
				return cli.Usage("kvmha drbd init "+o.resource+" --help", "cannot init %s: --data is here, peer or none, not %q", o.resource, data)
			}
			return a.runDRBDInit(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "`WHOSE` data the two nodes begin with: here, peer or none")
	cmd.Flags().BoolVarP(&o.wish.Yes, "yes", "y", false, "what is on the disk here may be overwritten")
	cmd.Flags().BoolVarP(&o.dry, "dry-run", "n", false, "print what would be executed, and do nothing")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// initialised is the result for programs.
type initialised struct {
	Resource string   `json:"resource"`
	Done     []string `json:"done"`
	What     string   `json:"what"`
	Next     []string `json:"next"`
}

func (a *app) runDRBDInit(ctx context.Context, o *initOptions) error {
	if err := a.needRoot("init " + o.resource); err != nil {
		return err
	}
	r, host, err := a.drbdResource(o.resource)
	if err != nil {
		return err
	}
	out := initialised{Resource: o.resource, Done: []string{}}
	var most int
	for i := 0; i == 0 || i < most; i++ {
		f, err := createFacts(ctx, r, host, o.wish.Data == create.Here)
		if err != nil {
			return drbdSays("init "+o.resource, err)
		}
		if o.dry {
			return a.planInit(o, f, out)
		}
		most = max(most, create.Most(f))
		s := create.Next(f, o.wish)
		switch s.Act {
		case create.Refuse:
			return refusedInit(o, s)
		case create.Done:
			out.What, out.Next = s.Why, s.Hint
			return a.sayInit(o, out)
		case create.Await:
			a.env.Talk("%s: %s", o.resource, s.Why)
			if o.wish.Awaited, err = awaitPeer(ctx, o.resource); err != nil {
				return drbdSays("init "+o.resource, err)
			}
			continue
		}
		a.env.Talk("%s: %s", s.Command(o.resource), s.Why)
		if err := createAct(ctx, s, o.resource); err != nil {
			return drbdSays("init "+o.resource, err)
		}
		o.wish.Forced = o.wish.Forced || s.Act == create.Force
		out.Done = append(out.Done, s.Command(o.resource))
	}
	return cli.Failed("kvmha drbd status "+o.resource, "cannot init %s: it does not get on after %s", o.resource, strings.Join(out.Done, ", "))
}

func refusedInit(o *initOptions, s create.Step) error {
	return cli.Refused(strings.Join(s.Hint, "\n"), "cannot init %s: %s", o.resource, s.Why)
}

// planInit shows what would be executed.
func (a *app) planInit(o *initOptions, f create.Facts, out initialised) error {
	for _, s := range create.Plan(f, o.wish) {
		command := s.Command(o.resource)
		switch {
		case s.Act == create.Refuse && len(out.Done) == 0:
			return refusedInit(o, s)
		case s.Act == create.Refuse, s.Act == create.Done:
			out.What, out.Next = s.Why, s.Hint
		case command == "":
			if !o.json {
				a.env.Print("# wait: %s\n", s.Why)
			}
		default:
			out.Done = append(out.Done, command)
			if !o.json {
				a.env.Print("%s   # %s\n", command, s.Why)
			}
		}
	}
	return a.sayInit(o, out)
}

func (a *app) sayInit(o *initOptions, out initialised) error {
	if o.json {
		return a.env.JSON(out)
	}
	a.env.Print("%s: %s\n", o.resource, out.What)
	for _, next := range out.Next {
		a.env.Talk("next: %s", next)
	}
	return nil
}

// drbdResource finds a resource of drbd.conf, and its section for this host.
func (a *app) drbdResource(name string) (*conf.Resource, *conf.Host, error) {
	c, err := conf.Load(conf.Dir(a.root), a.root, conf.Main)
	if err != nil {
		return nil, nil, drbdError(err)
	}
	i := slices.IndexFunc(c.Resources, func(r *conf.Resource) bool { return r.Name.Text == name })
	if i < 0 {
		return nil, nil, cli.Usage("kvmha drbd status", "cannot init %s: drbd.conf has no resource of that name", name)
	}
	r, here := c.Resources[i], a.drbdHost()
	i = slices.IndexFunc(r.Hosts, func(h *conf.Host) bool { return h.Called(here) })
	if i < 0 {
		return nil, nil, cli.Usage("kvmha drbd lint", "cannot init %s: drbd.conf has it not for %s", name, here)
	}
	return r, r.Hosts[i], nil
}

// otherHost is what people call the other node of a resource.
func otherHost(r *conf.Resource, here *conf.Host) string {
	for _, h := range r.Hosts {
		if h != here {
			return h.Title()
		}
	}
	return "the peer"
}
