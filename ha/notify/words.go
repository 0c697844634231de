package notify

import (
	"embed"
	"fmt"
	"strings"
	"text/template"
	"time"

	"kvmctl/ha"
)

// headlines are what a subject is called at the beginning of an alert, while it lasts and at its end; of a notice only the first is
// used. %s is the name of the check, the unit or the address.
var headlines = map[ha.Language]map[string][3]string{
	ha.English: {
		"takeover":      {"active here from now on", "", ""},
		"hand-over":     {"given away, not active here any more", "", ""},
		"nobody-active": {"nobody is active", "still nobody is active", "somebody is active again"},
		"check":         {"check %s fails", "check %s still fails", "check %s is well again"},
		"unit":          {"%s ended by itself", "%s is still down", "%s runs again"},
		"promote":       {"cannot become active here", "still cannot become active here", "can become active here again"},
		"stuck":         {"cannot let go", "still cannot let go", "has let go"},
		"address":       {"somebody else meddles with its address %s", "somebody else still meddles with its address %s", "its address %s is its own again"},
		"misconfigured": {"the other side is configured differently", "the other side is still configured differently", "both sides agree again"},
		"flapping":      {"moves too often to mail each time", "still moves too often", "is calm again"},
		"sync":          {"the configuration %s cannot be copied here", "the configuration %s still cannot be copied here", "the configuration %s is copied here again"},
		"disk":          {"the DRBD resource %s has failed", "the DRBD resource %s is still down", "the DRBD resource %s is well again"},
		"standalone":    {"the DRBD resource %s has parted from its peer", "the DRBD resource %s is still parted from its peer", "the DRBD resource %s has its peer again"},
		"frozen":        {"writes to %s stand still", "writes to %s still stand still", "writes to %s go on"},
		"verify":        {"both sides of the DRBD resource %s were compared", "", ""},
		"test":          {"a test of kvmha's voices", "", ""},
	},
	ha.French: {
		"takeover":      {"actif ici désormais", "", ""},
		"hand-over":     {"cédé, n'est plus actif ici", "", ""},
		"nobody-active": {"personne n'est actif", "toujours personne d'actif", "quelqu'un est de nouveau actif"},
		"check":         {"le contrôle %s échoue", "le contrôle %s échoue toujours", "le contrôle %s réussit de nouveau"},
		"unit":          {"%s s'est arrêté tout seul", "%s est toujours arrêté", "%s tourne de nouveau"},
		"promote":       {"ne peut pas devenir actif ici", "ne peut toujours pas devenir actif ici", "peut de nouveau devenir actif ici"},
		"stuck":         {"ne parvient pas à lâcher prise", "ne parvient toujours pas à lâcher prise", "a lâché prise"},
		"address":       {"un autre touche à son adresse %s", "un autre touche toujours à son adresse %s", "son adresse %s est de nouveau à lui seul"},
		"misconfigured": {"l'autre côté est configuré autrement", "l'autre côté est toujours configuré autrement", "les deux côtés sont de nouveau d'accord"},
		"flapping":      {"change de place trop souvent pour un courriel à chaque fois", "change toujours trop souvent de place", "est de nouveau calme"},
		"sync":          {"la configuration %s ne peut être copiée ici", "la configuration %s ne peut toujours pas être copiée ici", "la configuration %s est de nouveau copiée ici"},
		"disk":          {"la ressource DRBD %s est en panne", "la ressource DRBD %s est toujours en panne", "la ressource DRBD %s est de nouveau en état"},
		"standalone":    {"la ressource DRBD %s s'est séparée de son pair", "la ressource DRBD %s est toujours séparée de son pair", "la ressource DRBD %s a retrouvé son pair"},
		"frozen":        {"les écritures sur %s sont suspendues", "les écritures sur %s sont toujours suspendues", "les écritures sur %s reprennent"},
		"verify":        {"les deux côtés de la ressource DRBD %s ont été comparés", "", ""},
		"test":          {"un essai des alertes de kvmha", "", ""},
	},
}

// headline says in one line what a message is about.
func headline(m Message) string {
	words, ok := headlines[ha.Language(m.Language)]
	if !ok {
		words = headlines[ha.English]
	}
	at := 0
	switch m.Kind {
	case "reminder":
		at = 1
	case "end":
		at = 2
	}
	w := words[m.Subject][at]
	if w == "" {
		w = m.Subject
	}
	if strings.Contains(w, "%s") {
		w = strings.Join(strings.Fields(fmt.Sprintf(w, m.Name)), " ")
	}
	if m.Group == "" {
		return w
	}
	return m.Group + ": " + w
}

//go:embed mail.en.txt mail.fr.txt
var templates embed.FS

// Text is the body of a message's mail.
func Text(m Message) (string, error) {
	name := "mail.en.txt"
	if ha.Language(m.Language) == ha.French {
		name = "mail.fr.txt"
	}
	t, err := template.New(name).Funcs(template.FuncMap{
		"join": strings.Join,
		"time": func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") },
	}).ParseFS(templates, name)
	if err != nil {
		return "", fmt.Errorf("read the words of a mail: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, m); err != nil {
		return "", fmt.Errorf("write a mail: %w", err)
	}
	return b.String(), nil
}
