package peer

// words are what a short authentication string is written in: eight bits each, common, and hard to take for one another when said aloud.
var words = [256]string{
	"acid", "acorn", "actor", "agent", "album", "alien", "almond", "amber", "anchor", "angle", "ankle", "apple", "april", "arena", "armor",
	"arrow", "aspen", "atlas", "attic", "autumn", "bacon", "badge", "bagel", "baker", "bamboo", "banana", "banjo", "barrel", "basin",
	"basket", "beach", "beacon", "beard", "beaver", "bench", "berry", "bishop", "bison", "blanket", "blossom", "boat", "bonus", "border",
	"bottle", "boulder", "branch", "bread", "bridge", "bronze", "brother", "bucket", "buffalo", "butter", "button", "cabin", "cactus",
	"camel", "camera", "canal", "candle", "canoe", "canyon", "carbon", "carpet", "castle", "cattle", "cedar", "cello", "cement", "cherry",
	"chimney", "circle", "citrus", "clover", "cobalt", "coconut", "comet", "compass", "copper", "coral", "cotton", "cougar", "cradle",
	"crater", "cricket", "crystal", "cupboard", "curtain", "cyclone", "dagger", "daisy", "dancer", "desert", "diamond", "dinner", "dolphin",
	"donkey", "dragon", "drawer", "eagle", "easel", "echo", "eclipse", "elbow", "elephant", "ember", "emerald", "engine", "envelope",
	"evening", "fabric", "falcon", "farmer", "feather", "fennel", "ferry", "fiddle", "fig", "finger", "flamingo", "flute", "forest", "fossil",
	"fountain", "fox", "galaxy", "garden", "garlic", "gazelle", "ginger", "giraffe", "glacier", "glove", "goblet", "gorilla", "granite",
	"guitar", "hammer", "harbor", "harvest", "hazel", "helmet", "heron", "hickory", "honey", "horizon", "hornet", "hotel", "igloo", "island",
	"ivory", "jacket", "jaguar", "jasmine", "jigsaw", "jungle", "kangaroo", "kettle", "kitchen", "kiwi", "koala", "ladder", "lagoon",
	"lantern", "laurel", "lemon", "leopard", "lilac", "lizard", "lobster", "lunar", "magnet", "mango", "maple", "marble", "meadow", "melon",
	"meteor", "mirror", "monkey", "mosaic", "mountain", "muffin", "mushroom", "napkin", "nectar", "needle", "nickel", "noodle", "nutmeg",
	"oasis", "ocean", "octopus", "olive", "onion", "orbit", "orchid", "otter", "oyster", "paddle", "panda", "papaya", "parrot", "peacock",
	"pebble", "pelican", "pepper", "piano", "pigeon", "pillow", "planet", "plum", "pocket", "poplar", "prairie", "pumpkin", "puzzle",
	"quartz", "quiver", "rabbit", "radar", "raven", "ribbon", "river", "rocket", "saddle", "saffron", "salmon", "sandal", "saturn", "scarlet",
	"shadow", "silver", "spider", "spruce", "squirrel", "sunset", "tango", "temple", "thistle", "thunder", "tiger", "timber", "tulip",
	"tunnel", "turtle", "umbrella", "valley", "velvet", "violin", "walnut", "willow", "winter", "yogurt", "zebra", "zigzag",
}
