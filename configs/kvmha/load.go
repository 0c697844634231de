package kvmha

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha"
)

// Load reads the file at path and the passwords that it names. A file with mistakes comes back as strict.Problems, all of them, and an empty
// Spec; so does one that cannot be read.
func Load(path string) (ha.Spec, error) {
	f, err := readFile(path, strict.MaxFile)
	if err != nil {
		return ha.Spec{}, strict.Problems{strict.Unreadable(path, err)}
	}
	spec, problems := Parse(path, f, func(path string) (File, error) { return readFile(path, maxLook) })
	if len(problems) > 0 {
		return ha.Spec{}, problems
	}
	if spec.Node == "" {
		spec.Node = Hostname()
	}
	return spec, nil
}

// Parse makes a Spec of a file's bytes. look reads the files that it names, with passwords or certificates: their names are absolute, or made so by
// the directory of file. What is wrong comes back as problems; the spec then holds what could be read. Node stays empty where the file names none.
func Parse(file string, f File, look func(path string) (File, error)) (ha.Spec, strict.Problems) {
	spec := ha.Spec{File: file, Language: ha.English, Log: ha.Log{To: ha.LogJournal}}
	d := strict.Parse(file, f.Text, fileSchema())
	if d.Tree == nil {
		return spec, d.Problems
	}
	var raw rawFile
	strict.Bind(d, fileSchema(), &raw)
	l := &loader{Document: d, own: f, look: look, dir: filepath.Dir(file)}
	strict.Set(&spec.Node, raw.Node)
	strict.SetAs(&spec.Language, raw.Language)
	l.voices(&spec, &raw)
	l.log(&spec.Log, &raw.Log)
	l.peerTables, l.fenceTables, l.node = raw.Peers, raw.Fences, raw.Node
	l.channel(&spec.Channel, &raw.Channel, raw.Peers)
	spec.Peers = l.peers(raw.Peers, raw.Node)
	spec.Arbiter = l.arbiter(raw.Arbiter.Groups, &raw)
	if l.inEtcd() {
		spec.Etcd = l.etcd(&raw.Arbiter.Etcd, len(raw.Arbiter.Groups) > 0)
	}
	spec.Fences = l.fences(raw.Fences)
	for _, name := range l.inOrder(raw.Groups) {
		g := raw.Groups[name]
		spec.Groups = append(spec.Groups, l.group(name, &g))
	}
	l.together(spec.Groups, raw.Groups)
	l.storageTogether(spec.Groups)
	spec.Syncs = l.syncs(raw.Syncs, spec.Groups)
	d.Problems.Sort()
	return spec, d.Problems
}

// loader is one file on its way to a Spec.
type loader struct {
	*strict.Document
	own  File // the file itself
	look func(path string) (File, error)
	dir  string // that relative names are beside

	peerTables  map[string]rawPeer
	fenceTables map[string]rawFence
	node        *string
}

// inOrder gives the groups' names in the order of the file.
func (l *loader) inOrder(groups map[string]rawGroup) []string {
	at := map[string]int{}
	for name := range groups {
		at[name] = l.Offset(strict.Join("group", name))
	}
	return slices.SortedFunc(maps.Keys(groups), func(a, b string) int { return cmp.Compare(at[a], at[b]) })
}

// Hostname is this node's name where the file gives none: without its domain.
func Hostname() string {
	name, err := os.Hostname()
	if name, _, _ = strings.Cut(name, "."); err != nil || name == "" {
		return "localhost"
	}
	return name
}

func (l *loader) log(to *ha.Log, raw *rawLog) {
	strict.SetAs(&to.To, raw.To)
	strict.Set(&to.File, raw.File)
	switch {
	case to.To == ha.LogFile && raw.File == nil && !l.Bad["log.file"]:
		l.Value("log.to", `log.to is "file", but no file is named`, `file = "/var/log/kvmha.log"`)
	case to.To != ha.LogFile && raw.File != nil && !l.Bad["log.to"]:
		l.Key("log.file", `log.file without to = "file"`, `to = "file"`)
	case raw.File != nil && !filepath.IsAbs(to.File):
		l.Value("log.file", "log.file wants an absolute path, got "+strict.Quote(to.File), "")
	}
}

// need tells of a key that is missing from the table at path.
func (l *loader) need(path, key string, there bool, msg, fix string) bool {
	if !there && !l.Bad[path+"."+key] {
		l.Value(path, msg, fix)
	}
	return there
}

// program tells of an argv whose first word is no absolute path, or that is empty.
func (l *loader) program(path string, argv []string) {
	switch {
	case argv == nil || l.Bad[path] || l.Bad[strict.Element(path, 0)]:
	case len(argv) == 0 || argv[0] == "":
		l.Value(path, strict.Label(path)+" is empty", "")
	case !filepath.IsAbs(argv[0]):
		l.Value(path, strict.Label(path)+" wants a program with its absolute path, got "+strict.Quote(argv[0]), "")
	}
}

// Judge gives what is wrong with a text that is to become a kvmha.toml, the password files that it names included.
func Judge(file, text string) strict.Problems {
	_, problems := Parse(file, File{Text: []byte(text), Mode: 0o600, UID: uint32(os.Geteuid())}, func(path string) (File, error) { return readFile(path, maxLook) })
	return problems
}
